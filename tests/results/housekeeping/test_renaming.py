"""A sweep under another name is the same sweep, with the same runs; a kill leaves the old name or the new one."""

import os
from pathlib import Path

import pytest

from fersweep.common.errors import InputError
from fersweep.common.files import lock
from fersweep.results.dashboards.status import status
from fersweep.results.housekeeping.collection import gc
from fersweep.results.housekeeping.removal import rm
from fersweep.results.housekeeping.renaming import mv
from fersweep.results.mlflow_store import connection
from fersweep.results.models.open_model import open_model
from fersweep.results.promote.promotion import promote
from fersweep.results.record.drivers import LOCK
from fersweep.results.record.home import MOVE, MOVED, hidden, sweep_names
from fersweep.results.record.storage import Storage
from fersweep.results.tracking.recorder_process import record
from tests.recorded import check_all_recorded, run_ids, runs_of
from tests.results.housekeeping.kills import killed
from tests.sweeps import Recorded, change_asked, store_in_bucket, write_sweep


@pytest.mark.slow
def test_everything_has_the_new_name(own_home: Path, recorded: Recorded) -> None:
    sweep_dir, other = recorded("cnn"), recorded("other", 1)
    promote(sweep_dir, gates={})
    ids = run_ids(sweep_dir)
    would = mv("cnn", "dense.2", own_home, dry_run=True)
    assert (would.runs, would.versions, would.renamed) == (4, [1], False)
    assert sweep_names(own_home) == ["cnn", "other"]
    done = mv("cnn", "dense.2", own_home)
    assert (done.runs, done.versions, done.renamed) == (4, [1], True)
    new = own_home / "sweeps" / "dense.2"
    assert sweep_names(own_home) == ["dense.2", "other"]
    assert not (new / MOVE).exists()
    assert run_ids(new) == ids
    check_all_recorded(new)
    check_all_recorded(other)
    parent = runs_of(new)["parent"]
    assert parent.info.run_name == "dense.2"
    assert "Sweep **dense.2**" in parent.data.tags["mlflow.note.content"]
    assert {run.data.tags["fersweep.sweep"] for run in runs_of(new).values()} == {"dense.2"}
    assert open_model("champion", own_home).origin.sweep == "dense.2"
    assert open_model("dense.2:0", own_home).origin.trial == 0
    (line,) = connection.open_home(own_home).search_runs([_ledger(own_home)])
    assert line.data.tags["fersweep.asked.model"] == "dense.2:0"
    (found,) = status(own_home, "dense.2")
    assert (found.state, found.mlflow) == ("finished", None)
    rm(["dense.2"], own_home)
    assert sweep_names(own_home) == ["other"]


def _ledger(home: Path) -> str:
    from fersweep.results.evaluate.ledger import EXPERIMENT

    experiment = connection.open_home(home).get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return str(experiment.experiment_id)


def test_what_is_refused_changes_nothing(own_home: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    change_asked(sweep_dir, then={"best": 1})
    write_sweep(own_home, tiny_dataset, 1, "cnn-full")
    (own_home / "sweeps" / "link").symlink_to(write_sweep(tmp_path / "disk", tiny_dataset, 1, "link"))
    before = {path: path.read_bytes() for path in sweep_dir.rglob("*") if path.is_file()}
    for old, new, why in [
        ("nope", "new", "no sweep 'nope'"),
        ("cnn", "cnn", "has this name already"),
        ("cnn", "cnn-full", "is there already"),
        ("cnn", "champion", "is what a registered model is called"),
        ("cnn", "3", "is what a registered model is called"),
        ("cnn", "a/b", "name"),
        ("cnn", "../cnn", "name"),
        ("cnn", "", "^cnn: name: .*but got ''"),
        ("cnn", "x" * 81, "^cnn: name: "),
        ("cnn", "é", "name"),
        ("cnn", "s3://b/c", "not an address"),
        ("link", "new", "is a link to"),
        ("cnn", "new", "`fersweep mv cnn-full new-full` first"),
    ]:
        with pytest.raises(InputError, match=why) as refused:
            mv(old, new, own_home)
        assert "\n" not in str(refused.value)
    with lock(sweep_dir / LOCK), pytest.raises(InputError, match="cnn runs: `fersweep stop cnn` first"):
        mv("cnn", "new", own_home)
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(os.listdir(own_home / "sweeps")) == ["cnn", "cnn-full", "link"]


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("at", [9, 22, 32])
def test_what_a_kill_leaves_is_finished(at: int, own_home: Path, recorded: Recorded, bucket: str) -> None:
    """By the same command, or by gc; there is never more than one sweep, here and in the bucket."""
    sweep_dir = recorded("cnn")
    ids = run_ids(sweep_dir)
    before = store_in_bucket(sweep_dir, bucket)
    after = Storage(before.address.replace("/cnn?", "/new?"))
    stored = {path for path in before.sizes() if path not in ("heartbeat", "clock")}
    assert killed("mv('cnn', 'new', home)", own_home, at)
    names = sweep_names(own_home)
    assert names in (["cnn"], ["new"], [])
    assert names or len(hidden(own_home, MOVED, "new")) == 1
    for found in status(own_home):
        assert found.state == "finished", found
    if at % 2:
        mv("cnn", "new", own_home)
    else:
        collected = gc(own_home)
        assert [(item.what, item.removed) for item in collected.leftovers] == [("cnn to new", True)], collected
    assert sweep_names(own_home) == ["new"]
    assert os.listdir(own_home / "sweeps") == ["new"]
    assert before.sizes() == {}
    assert {path for path in after.sizes() if path not in ("heartbeat", "clock")} == stored
    assert run_ids(own_home / "sweeps" / "new") == ids
    check_all_recorded(own_home / "sweeps" / "new")


@pytest.mark.slow
def test_a_taken_place_in_the_bucket(own_home: Path, tiny_dataset: Path, bucket: str) -> None:
    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    before = store_in_bucket(sweep_dir, bucket)
    Storage(before.address.replace("/cnn?", "/new?")).write("trials/0000/mine", b"of somebody else")
    stored = before.sizes()
    with pytest.raises(InputError, match="something is there already"):
        mv("cnn", "new", own_home)
    assert before.sizes() == stored
    assert sweep_names(own_home) == ["cnn"]
    assert record(sweep_dir)
