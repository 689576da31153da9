"""What `mkdocs build` does beside rendering: pages made of the code, files from outside docs/, and a navigation that fits what is there.

The reference pages are made here and are not committed. `make docs` runs it all.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import command_line
import notebooks
import python_page
import sweep_file
import trainables_page
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
MADE = {
    "reference/command-line.md": command_line.render,
    "reference/sweep-file.md": sweep_file.render,
    "reference/trainables.md": trainables_page.render,
    "reference/python.md": python_page.render,
}
TAKEN = {  # page → the file of the repository that it is
    "explanation/leaderboard.md": "results/leaderboard.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
LINK = re.compile(r"\[([^\]\[]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(?m)^( *```[\s\S]*?^ *```)")


def on_config(config: Any) -> Any:
    """Leave out of the navigation what is not there, and add what it does not name at the end of its section."""
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    pages |= {*MADE, *TAKEN, *notebooks.pages(ROOT / "docs")}
    config.nav = _fitting(config.nav, pages)
    missing = pages - set(_named(config.nav))
    for section in config.nav:
        ((_, entries),) = section.items()
        if isinstance(entries, list):
            folder = str(next(_named(entries))).split("/")[0]
            entries += sorted(page for page in missing if page.startswith(f"{folder}/"))
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of the code, of notebooks, and of files elsewhere in the repository."""
    for page, render in MADE.items():
        files.append(File.generated(config, page, content=render()))
    for page, path in TAKEN.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    for page, content in notebooks.convert(ROOT / "docs").items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files of the repository: to their page where they have one, else they are text."""
    here = page.file.src_uri
    where = TAKEN.get(here, f"docs/{here}")
    return "".join(
        part if FENCE.fullmatch(part) else LINK.sub(lambda link: _linked(link, here, where), part)
        for part in FENCE.split(markdown)
    )


def _linked(link: re.Match[str], here: str, where: str) -> str:
    text, target, anchor = link[1], link[2], link[3] or ""
    if re.match(r"[a-z]+:", target):
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(where), target))
    pages = {file: page for page, file in TAKEN.items()} | {"README.md": "index.md"}
    to = path.removeprefix("docs/") if path.startswith("docs/") else pages.get(path)
    if to is not None:
        return f"[{text}]({posixpath.relpath(to, posixpath.dirname(here) or '.')}{anchor})"
    if not (ROOT / path).exists():
        return link[0]  # strict: mkdocs says so
    return text if text.startswith("`") else f"{text} (`{path}`)"


def _fitting(nav: list[Any], pages: set[str]) -> list[Any]:
    kept: list[Any] = []
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(value, list):
            if fitting := _fitting(value, pages):
                kept.append({next(iter(entry)): fitting})
        elif value in pages:
            kept.append(entry)
    return kept


def _named(nav: list[Any]) -> Any:
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(value, list):
            yield from _named(value)
        else:
            yield value
