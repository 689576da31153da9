"""The whole job, run from a directory that is full of a user's own files with the names of our rooms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, write_curve
from tests.recorded import check_all_recorded

USERS = (
    *("results.py", "cluster/__init__.py", "trainables/__init__.py", "common.py", "data_pipeline.py"),
    *("search_spaces.py", "journal.py", "fersweep_notes.py"),
)


@pytest.mark.processes
def test_launch_resume_promote_predict_and_load(tmp_path: Path, tiny_dataset: Path) -> None:
    from skimage import data, io

    for name in USERS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('raise SystemExit("a file of the user was imported")\n')
    io.imsave(tmp_path / "photo.png", data.astronaut(), check_contrast=False)
    write_curve(tmp_path / "c.yaml", trials=3, epochs=4, cpus=2)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fersweep(*arguments: str) -> str:
        return run(sys.executable, "-m", "fersweep", *arguments)

    fersweep("launch", "c.yaml", "--data", str(tiny_dataset))
    fersweep("resume", "c", "--trials", "+1")
    assert len(json.loads(fersweep("compare", "c", "--json"))["trials"]) == 4
    fersweep("promote", "c", "--gate", "none")
    (photo,) = json.loads(fersweep("predict", "photo.png", "--json"))
    assert len(photo["faces"]) == 1
    check_all_recorded(tmp_path / "runs" / "sweeps" / "c")
    load = "import mlflow, sys; mlflow.set_tracking_uri('sqlite:///runs/mlflow.db'); print(mlflow.pyfunc.load_model"
    assert "pyfunc" in run(sys.executable, "-c", f"{load}('models:/fersweep@champion'))")
