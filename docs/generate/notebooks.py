"""Notebooks as pages: their cells, and what they printed when they were saved. Nothing is run."""

from __future__ import annotations

import posixpath
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter


def pages(docs: Path) -> list[str]:
    """The page of each notebook: `tutorial/fer2013.md`."""
    return [path.relative_to(docs).with_suffix(".md").as_posix() for path in sorted(docs.rglob("*.ipynb"))]


def convert(docs: Path) -> dict[str, str | bytes]:
    """Page or picture → its content."""
    made: dict[str, str | bytes] = {}
    for page in pages(docs):
        path = (docs / page).with_suffix(".ipynb")
        body, resources = MarkdownExporter().from_notebook_node(nbformat.read(path, as_version=4))
        made[page] = f"{body}\n\n[This page as a notebook]({path.name})\n"
        made |= {posixpath.join(posixpath.dirname(page), name): data for name, data in resources["outputs"].items()}
    return made
