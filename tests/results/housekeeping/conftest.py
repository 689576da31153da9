"""What the tests of removing and renaming share: homes of their own, recorded sweeps, and a machine that nobody else uses."""

import shutil
from pathlib import Path

import pytest

from fersweep.results.tracking.recorder_process import record
from tests.sweeps import Recorded, write_sweep


@pytest.fixture
def own_home(tmp_path: Path, empty_store: Path) -> Path:
    """A home without sweeps, whose MLflow store is there already."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_store, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def recorded(own_home: Path, tiny_dataset: Path) -> Recorded:
    """Makes a finished sweep that MLflow holds → its directory."""

    def make(name: str = "cnn", num_trials: int = 2) -> Path:
        sweep_dir = write_sweep(own_home, tiny_dataset, num_trials, name)
        assert record(sweep_dir)
        return sweep_dir

    return make


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary directories and caches of nobody else: `gc` looks into them."""
    import tempfile

    for name in ("tmp", "cache", "staged", "readings"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("FERSWEEP_STAGED", str(tmp_path / "staged"))
    monkeypatch.setenv("FERSWEEP_READINGS", str(tmp_path / "readings"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"
