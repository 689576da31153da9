"""What lies in a home is input, too: a damaged file is one line, which names it, and nothing of it is changed."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.results.mlflow_store.connection import open_home
from fersweep.results.record import checkpoints
from fersweep.results.record.home import find_sweep
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from fersweep.trainables import restore
from tests.fuzz.mutations import npy_file
from tests.sweeps import write_sweep


@pytest.fixture(scope="module")
def sweep_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("home"), num_trials=2)


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"{}",
        b"[1, 2]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"event": "ended", "time": 1, "trial": 9, "state": "failed"}',
        b'{"event": "report", "time": 1, "trial": 0, "epochs": 5}',
        b'{"event": "report", "time": 1, "trial": 0, "epochs": [{"epoch": 1, "loss": "low"}]}',
        b'{"event": "ended", "time": 1' + b"0" * 400 + b', "trial": 0, "state": "failed"}',
        b'{"event": "sampled", "time": 1, "trial": "../../x", "hparams": {}}',
    ],
    ids=[
        "no JSON",
        "no event",
        "a list",
        "no text",
        "too deep",
        "of no trial",
        "no epochs",
        "a text for a number",
        "a huge number",
        "a path for a trial",
    ],
)
def test_a_damaged_line_of_a_journal(sweep_dir: Path, line: bytes) -> None:
    path = sweep_dir / "journal.jsonl"
    sound = path.read_bytes()
    number = sound.count(b"\n") + 1
    path.write_bytes(sound + line + b"\n" + sound.splitlines(keepends=True)[0])
    try:
        with pytest.raises(InputError, match=rf"journal\.jsonl: line {number} is damaged"):
            load_sweep(sweep_dir)
        assert path.read_bytes().startswith(sound + line)
    finally:
        path.write_bytes(sound)


def test_a_journal_that_is_gone_is_no_new_sweep(sweep_dir: Path) -> None:
    path = sweep_dir / "journal.jsonl"
    sound = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(
            InputError, match=r"its journal is missing, but .* files of 2 trials; put a copy of journal\.jsonl back"
        ):
            load_sweep(sweep_dir)
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"x" * 300])
def test_damaged_predictions_are_none(sweep_dir: Path, content: bytes) -> None:
    recorded = load_sweep(sweep_dir)
    trial = recorded.record.trials[0]
    assert recorded.val_predictions(trial) is not None
    path = sweep_dir / "trials" / trial.name / "predictions.npz"
    sound = path.read_bytes()
    path.write_bytes(content)
    try:
        assert recorded.val_predictions(trial) is None
    finally:
        path.write_bytes(sound)


def test_a_sweep_file_without_an_end(sweep_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"sweep\.json is not a sweep's record"):
        load_sweep(tmp_path)


def test_a_manifest_whose_values_are_of_another_kind(sweep_dir: Path, tmp_path: Path) -> None:
    manifest = dict(read_manifest(sweep_dir.parents[1] / "data" / "tiny"))
    for key in ("classes", "parts", "counts", "fingerprint"):
        (tmp_path / "manifest.json").write_text(json.dumps({**manifest, key: None}))
        with pytest.raises(InputError, match=rf"manifest\.json is broken \({key}: "):
            read_manifest(tmp_path)


def test_no_memory_is_taken_for_a_claim(sweep_dir: Path, tmp_path: Path) -> None:
    recorded = load_sweep(sweep_dir)
    checkpoint = recorded.best_checkpoint(recorded.record.trials[0])
    assert checkpoint is not None
    shutil.copytree(checkpoint, tmp_path / "forged")
    with zipfile.ZipFile(tmp_path / "forged" / "state.npz", "w") as archive:
        archive.writestr("means.npy", npy_file(np.zeros(1), (10**13,), "<f8"))
    with pytest.raises(
        InputError, match=r"state\.npz cannot be read: .*float64 of shape \(10000000000000,\), but there are 8"
    ):
        restore(tmp_path / "forged")


def test_names_that_are_paths(sweep_dir: Path, tmp_path: Path) -> None:
    home = sweep_dir.parents[1]
    for name in ("../sweeps/tiny", str(sweep_dir), "..", ""):
        with pytest.raises(InputError, match="no sweep"):
            find_sweep(home, name)
    shutil.copytree(sweep_dir, tmp_path / "bucket")
    content = json.loads((sweep_dir / "sweep.json").read_bytes())
    content["sweep"]["name"] = "../../elsewhere"
    (tmp_path / "bucket" / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"sweep\.json is not a sweep's record: sweep\.name"):
        find_sweep(tmp_path / "a" / "home", f"file://{tmp_path}/bucket")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bucket"]


def test_checksums_of_files_elsewhere(sweep_dir: Path) -> None:
    storage, path = Storage(sweep_dir), next(sweep_dir.glob("trials/0000/epoch-*")) / "checksums.json"
    sound = path.read_bytes()
    path.write_text(json.dumps({**json.loads(sound), "../../../../x": "0"}))
    try:
        with pytest.raises(checkpoints.Damaged, match=r"checksums\.json is not what was written"):
            checkpoints.fetch(storage, 0, int(path.parent.name[-4:]), sweep_dir)
    finally:
        path.write_bytes(sound)


def test_a_store_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"no database at all" * 500)
    with pytest.raises(OSError, match=r"mlflow\.db is damaged \(file is not a database\)"):
        open_home(tmp_path)
    assert path.read_bytes() == b"no database at all" * 500
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE model_versions (a)")
    database.close()
    with pytest.raises(OSError, match=r"mlflow\.db is damaged \(no such table: experiments\)"):
        open_home(tmp_path)
