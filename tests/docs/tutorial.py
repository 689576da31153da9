"""Runs the tutorial's notebook in a directory, with fewer trials and without the interruption.

Its cells are run in this process, its commands too, as shell.py does it: a kernel, and a process for each command, would
load MediaPipe, Ray, MLflow and frameworks eight times. tests/fersweep launches sweeps in a kernel.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.docs import shell
from tests.docs.blocks import ROOT

NOTEBOOK = ROOT / "docs/tutorial/fer2013.ipynb"
PARAMETERS = 'SOURCE, TRIALS, INTERRUPT_AFTER_S = "fer2013.csv.zip", 2, 300'  # in place of the notebook's
SMALL = {"prepare": "--workers 1", "launch": "--max-epochs 6 --set resources.cpus=2"}


def run(directory: Path) -> None:
    """Run all cells on the Ray that this process has joined."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("MPLBACKEND", "agg")
        for number, cell in enumerate(nbformat.read(NOTEBOOK, as_version=4).cells):
            if cell.cell_type == "code":
                source = PARAMETERS if "parameters" in cell.metadata.get("tags", []) else cell.source
                if source.startswith("!"):
                    _command(source[1:].format(**names))
                else:
                    exec(compile(source, f"{NOTEBOOK.name}, cell {number}", "exec"), names)


def _command(line: str) -> None:
    words = shlex.split(line)
    if words[0] == "timeout":
        words = words[3:]
    assert words[0] == "fersweep", line
    shell.fersweep([words[1], *SMALL.get(words[1], "").split(), *words[2:]], line)
