"""What nothing needs is found and removed; what somebody uses, or may use, is not."""

import fcntl
import os
import shutil
import time
import uuid
from pathlib import Path

import pytest

from fersweep.common.errors import InputError
from fersweep.common.files import lock
from fersweep.results.housekeeping.collection import KINDS, gc
from fersweep.results.housekeeping.renaming import mv
from fersweep.results.mlflow_store import connection
from fersweep.results.promote.promotion import promote
from fersweep.results.record.drivers import LOCK
from tests.recorded import check_all_recorded
from tests.sweeps import Recorded, write_sweep

DAYS_AGO = time.time() - 3 * 86_400


def write(path: Path, old: bool = True) -> Path:
    """A file of 1,000 bytes, three days old, as are its directories up to one that is there."""
    made = [place for place in (path, *path.parents) if not place.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(1000))
    for place in made if old else ():
        os.utime(place, (DAYS_AGO, DAYS_AGO))
    return path


def tree(*places: Path) -> set[Path]:
    return {path for place in places for path in place.rglob("*") if not path.name.endswith((".lock", "-shm", "-wal"))}


def test_each_kind_is_found_and_nothing_else(own_home: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    kept = tree(own_home, tmp_path / "tmp")
    tmp, session = tmp_path / "tmp", "session_2026-01-02_03-04-05_000006_{}"
    leftovers = {
        "launches": write(own_home / "sweeps" / ".new.new" / "sweep.json").parent,
        "checkpoints": write(sweep_dir / "trials" / "0000" / ".epoch-0003-0123abcd" / "model.json").parent,
        "temporary files": write(own_home / "data" / ".part.0123456789ab.tmp.parquet"),
        "promotions": write(own_home / ".promote" / "x" / "model").parent.parent,
        "artifacts": write(own_home / "artifacts" / uuid.uuid4().hex / "artifacts" / "a.json").parents[1],
        "background logs": write(own_home / "sweeps" / ".gone.launch" / "log").parent,
        "temporary directories": write(tmp / "fersweep-job-ab12cd_9" / "code.py").parent,
        "staged data": write(tmp_path / "staged" / ".faces.partial" / "part").parent,
    }
    ended = write(tmp / "ray" / session.format(999_999_999) / "logs" / "gcs.out")
    used = [
        ended,
        write(own_home / "sweeps" / ".cnn.launch" / "log"),
        write(own_home / "artifacts" / uuid.uuid4().hex / "artifacts" / "fresh.json", old=False),
        write(own_home / "artifacts" / "7" / uuid.uuid4().hex / "artifacts" / "of an experiment of one's own"),
        write(own_home / "data" / ".part.0123456789ac.tmp.parquet", old=False),
        write(own_home / "data" / ".mine"),
        write(tmp / "ray" / session.format(os.getpid()) / "logs" / "gcs.out"),
        write(tmp / f"fersweep-{os.getuid()}" / "staged" / "faces"),
        write(tmp / f"fersweep-home-{os.getuid()}" / "x"),
        write(tmp / "fersweep-abcdefgh" / "fresh", old=False),
        write(tmp / "other" / "x"),
        write(tmp_path / "staged" / "whole" / "part"),
        write(tmp_path / "readings" / "0123" / "a.ids.npy"),
    ]
    before = tree(own_home, tmp, tmp_path / "staged")
    seen = gc(own_home, dry_run=True)
    assert tree(own_home, tmp, tmp_path / "staged") == before
    found = {item.kind: item.what for item in seen.leftovers if not item.why}
    assert found == {kind: str(path) for kind, path in leftovers.items()}
    assert {item.why for item in seen.leftovers if item.kind in ("caches", "ray sessions")} == {"--caches removes it"}
    done = gc(own_home)
    assert not done.failed
    assert done.num_bytes == seen.num_bytes == 1000 * len(leftovers)
    assert not [path for path in leftovers.values() if path.exists()]
    assert all(path.exists() for path in [*used, *kept])
    assert gc(own_home).num_bytes == 0
    assert gc(own_home, caches=True).num_bytes == 3000
    assert not ended.exists()
    assert found.keys() < KINDS.keys()


def test_what_is_locked_stays(own_home: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    launching = write(own_home / "sweeps" / ".new.new" / "sweep.json").parent
    places = [
        write(sweep_dir / "trials" / "0000" / ".epoch-0003-0123abcd" / "model.json"),
        launching,
        write(own_home / ".promote" / "x"),
        write(tmp_path / "staged" / ".faces.partial" / "part"),
    ]
    with (
        lock(sweep_dir / LOCK),
        lock(launching / LOCK),
        lock(own_home / "promote.lock"),
        (tmp_path / "staged" / ".faces.use").open("w") as used,
    ):
        fcntl.flock(used, fcntl.LOCK_SH)
        collected = gc(own_home, caches=True)
        assert not [item for item in collected.leftovers if item.removed], collected
        assert all(path.exists() for path in places)


@pytest.mark.slow
def test_runs_of_sweeps_that_are_gone(own_home: Path, recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    """Deleted ones go; the others only when that is asked for; those of versions, and the ledger, never."""
    gone, kept = recorded("gone"), recorded("kept", 1)
    promote(gone, gates={})
    client = connection.open_home(own_home)
    experiment = client.get_experiment_by_name("fersweep")
    assert experiment is not None
    by_name = {run.info.run_name.split()[-1] + run.data.tags["fersweep.kind"]: run for run in client.search_runs([experiment.experiment_id])}  # fmt: skip
    client.delete_run(by_name["gonetrial"].info.run_id)
    client.delete_run(by_name["keptsweep"].info.run_id)
    assert not gc(own_home).leftovers, "both sweeps are here: what was deleted is restored by the next recording"
    shutil.rmtree(gone)
    collected = gc(own_home)
    assert [(item.kind, item.removed) for item in collected.leftovers] == [
        ("deleted runs", True),
        ("runs without a sweep", False),
    ]
    collected = gc(own_home, runs=True)
    assert [(item.kind, item.removed) for item in collected.leftovers] == [("runs without a sweep", True)]
    from fersweep.results.models.open_model import open_model

    assert open_model("champion", own_home).classes
    from fersweep.results.tracking.recorder_process import record

    assert record(kept)
    check_all_recorded(kept)
    kinds = sorted(run.data.tags["fersweep.kind"] for run in client.search_runs([experiment.experiment_id]))
    assert kinds == ["promotion", "sweep", "trial"]


@pytest.mark.slow
def test_a_store_that_cannot_be_asked_keeps_its_artifacts(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(own_home / "artifacts" / uuid.uuid4().hex / "artifacts" / "a.json")
    (own_home / "artifacts" / ".stores").write_text("postgresql://***@nowhere/runs\n")
    assert not gc(own_home).leftovers
    assert "postgresql://***@nowhere/runs cannot be asked" in capsys.readouterr().err
    assert path.exists()


def test_a_home_that_is_not_there(tmp_path: Path) -> None:
    assert not gc(tmp_path / "none").leftovers
    assert not (tmp_path / "none").exists()


def test_a_link_that_looks_like_a_removal_goes_alone(own_home: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (own_home / "sweeps").mkdir(parents=True, exist_ok=True)
    link = own_home / "sweeps" / ".y.3f2a9c82.removed"
    link.symlink_to(precious)
    assert not gc(own_home).failed
    assert not link.is_symlink()
    assert list(precious.iterdir()) == []


def test_a_directory_that_is_not_a_home(
    own_home: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is looked for in it, by any verb that would find nothing."""
    write_sweep(own_home, tiny_dataset, 1, "cnn")
    other, empty = tmp_path / "other", tmp_path / "empty"
    other.mkdir()
    empty.mkdir()
    (other / "mine.txt").touch()
    for place, why in [
        (own_home / "sweeps", f"it is no home, .*; --home {own_home} has some"),
        (other, "it is no home"),
    ]:
        with pytest.raises(InputError, match=why):
            gc(place)
        with pytest.raises(InputError, match=why):
            mv("cnn", "new", place)
    assert gc(empty, tell=print).leftovers == []
    assert "it is empty; what is left on this machine is looked for" in capsys.readouterr().out
