"""Run the tutorial's notebook on FER2013, and save it with what it prints.

    cp fer2013.csv.zip /tmp/tutorial/ && .venv/bin/python docs/generate/save_tutorial.py /tmp/tutorial

Tests run it, too, on small data (tests/docs/tutorial.py), and save nothing.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "tutorial/fer2013.ipynb"
ESCAPE = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[[?\d;]*[A-Za-z]")
WIDTH = 100  # characters of a line


def main(directory: Path) -> None:
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["COLUMNS"] = str(WIDTH)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": directory}}).execute()
    clean(notebook)
    nbformat.write(notebook, NOTEBOOK)


def clean(notebook: Any) -> None:
    """Leave what a reader needs: output as a terminal has it at the end, without colours; tables as text; no times."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        printed = "".join(
            output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout"
        )
        others = [output for output in cell.outputs if output.output_type != "stream"]
        for output in others:
            output.data.pop("text/html", None)
        shown = at_the_end(printed)
        cell.outputs = ([nbformat.v4.new_output("stream", name="stdout", text=shown)] if shown else []) + others


def at_the_end(printed: str) -> str:
    """What a terminal shows when all was printed: progress is drawn over and over."""
    lines, row, column = [""], 0, 0
    position = 0
    while position < len(printed):
        escape, character = ESCAPE.match(printed, position), printed[position]
        position = escape.end() if escape else position + 1
        if escape:
            if escape[2] == "A":
                row = max(row - int(escape[1] or 1), 0)
            elif escape[2] == "K":
                lines[row], column = "", 0
        elif character == "\r":
            column = 0
        elif character == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        else:
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n" if any(map(str.strip, lines)) else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
