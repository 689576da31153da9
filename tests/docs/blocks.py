"""The code blocks of README, CONTRIBUTING and docs/: which there are, and which say that they are not run.

    .venv/bin/python -m tests.docs.blocks        # a line a page: blocks, run, not run

A block of bash, sh, console, python or yaml is run by test_command_blocks.py, unless the line before it says why not:

    <!-- not run: needs a cluster -->

One that is a file, which later blocks name, says so: `<!-- file: my_model.py -->`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ("bash", "sh", "console", "python", "yaml")
SHOWN = ("text", "json", "toml", "dockerfile")
"""What is only looked at: output, and parts of files."""
MARK = re.compile(r"\s*<!--\s*not run:?(?P<why>.*?)-->\s*")
FILE = re.compile(r"\s*<!--\s*file: (?P<name>\S+)\s*-->\s*")
FENCE = re.compile(r"(?P<indent>\s*)```(?P<language>\S*)\s*")


@dataclass(frozen=True)
class Block:
    """A fenced block. line: of its fence, from 1. why: the reason for which it is not run; None: it is. file: which it is."""

    page: str
    line: int
    language: str
    text: str
    why: str | None
    file: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in RUN and self.why is None


def pages() -> list[str]:
    """Every page with commands, from the root of the repository."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def blocks(page: str, text: str | None = None) -> list[Block]:
    """The blocks of a page in their order; `text`: in place of the page's."""
    lines = ((ROOT / page).read_text() if text is None else text).split("\n")
    found: list[Block] = []
    number = 0
    while number < len(lines):
        if (fence := FENCE.fullmatch(lines[number])) is None:
            number += 1
            continue
        end = next(i for i in range(number + 1, len(lines)) if lines[i].strip() == "```")
        before = lines[number - 1] if number else ""
        mark, file = MARK.fullmatch(before), FILE.fullmatch(before)
        inside = [line.removeprefix(fence["indent"]) for line in lines[number + 1 : end]]
        why = mark["why"].strip() if mark else None
        found.append(Block(page, number + 1, fence["language"], "\n".join(inside), why, file and file["name"]))
        number = end + 1
    return found


def summary() -> str:
    """How many blocks each page has, and how many of them are run."""
    counts = {page: [block for block in blocks(page) if block.language in RUN] for page in pages()}
    lines = [
        f"{page}: {len(found)} blocks, {sum(block.runs for block in found)} run by tests/docs"
        for page, found in counts.items()
        if found
    ]
    every = [block for found in counts.values() for block in found]
    run = sum(block.runs for block in every)
    return "\n".join([*lines, f"all pages: {len(every)} blocks, {run} run, {len(every) - run} say why they are not"])


if __name__ == "__main__":
    print(summary())
