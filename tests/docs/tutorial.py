"""Runs the tutorial's notebook in a directory, with fewer trials and without the interruption."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.blocks import ROOT

NOTEBOOK = ROOT / "docs/tutorial/fer2013.ipynb"
PARAMETERS = 'SOURCE, TRIALS, INTERRUPT_AFTER_S = "fer2013.csv.zip", 2, 300'  # in place of the notebook's
SMALL = {"prepare": "--workers 1", "launch": "--max-epochs 6 --set resources.cpus=2"}


def run(directory: Path, ray_address: str) -> None:
    """Run all cells; a command that fails raises nbclient's CellExecutionError."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = PARAMETERS
        elif cell.cell_type == "code" and cell.source.startswith("!"):
            for verb, options in SMALL.items():
                cell.source = cell.source.replace(f"fersweep {verb}", f"fersweep {verb} {options}")
            cell.source += "\nassert _exit_code == 0, _exit_code"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", ray_address)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(ROOT))
        NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": directory}}
        ).execute()
