"""A sweep is removed with all that belongs to it, and with nothing else."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from fersweep.cli import housekeeping
from fersweep.common.errors import InputError
from fersweep.common.files import lock
from fersweep.results.housekeeping import removal
from fersweep.results.housekeeping.collection import gc
from fersweep.results.housekeeping.removal import plan, rm
from fersweep.results.housekeeping.renaming import mv
from fersweep.results.mlflow_store import connection
from fersweep.results.models.open_model import open_model
from fersweep.results.promote.promotion import promote
from fersweep.results.record.drivers import LOCK
from fersweep.results.record.home import (
    REMOVED,
    find_sweep,
    hidden,
    hidden_path,
    sweep_names,
)
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.results.tracking import lag
from fersweep.results.tracking.recorder import Recorder
from fersweep.results.tracking.recorder_process import record
from tests.datasets import write_tiny_dataset
from tests.recorded import check_all_recorded
from tests.results.housekeeping.kills import killed
from tests.servers import MlflowServer
from tests.sweeps import FakeDriver, Recorded, change_asked, store_in_bucket, write_sweep, write_sweep_json


def runs_in(home: Path, uri: str | None = None) -> list[Any]:
    """All runs of a store, deleted ones, too."""
    from mlflow.entities import ViewType

    client = connection.open_home(home, uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments(ViewType.ALL)]
    return list(client.search_runs(experiments, "", ViewType.ALL))


def names_in(home: Path, uri: str | None = None) -> list[str]:
    return sorted(f"{run.data.tags.get('fersweep.kind', 'line')} {run.info.run_name}" for run in runs_in(home, uri))


def snapshot(place: Path) -> dict[str, bytes]:
    """Files of a home but those that looking may touch: locks and the store, which SQLite opens."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file())
    return {str(path): path.read_bytes() for path in files if not path.name.endswith((".lock", "-shm", "-wal", ".db"))}


@pytest.mark.slow
def test_a_launch_under_a_removed_name_is_the_only_set(own_home: Path, recorded: Recorded, tiny_dataset: Path) -> None:
    first = recorded("cnn")
    other = recorded("other")
    before = snapshot(own_home)
    (planned,) = plan(["cnn"], own_home)
    assert snapshot(own_home) == before
    assert (planned.sweep, planned.trials, planned.runs, planned.removed) == ("cnn", 2, 3, False)
    assert min(planned.checkpoint_bytes, planned.artifact_bytes) > 0
    run_id = next(run.info.run_id for run in runs_in(own_home) if run.info.run_name == "cnn")
    (removed,) = rm(["cnn"], own_home)
    assert (removed.removed, removed.num_bytes) == (True, planned.num_bytes)
    assert sweep_names(own_home) == ["other"]
    assert os.listdir(own_home / "sweeps") == ["other"]
    assert not (own_home / "artifacts" / run_id).exists()
    check_all_recorded(other)
    with pytest.raises(InputError, match="no sweep 'cnn'"):
        rm(["cnn"], own_home)
    assert write_sweep(own_home, tiny_dataset, 2, "cnn") == first
    assert record(first)
    check_all_recorded(first)
    assert [name for name in names_in(own_home) if "cnn" in name] == sorted(
        ["sweep cnn", *(name for name in names_in(own_home) if name.startswith("trial") and name.endswith("cnn"))]
    )
    assert len(names_in(own_home)) == 6


@pytest.mark.slow
def test_a_promoted_version_outlives_its_sweep(own_home: Path, recorded: Recorded, tiny_dataset: Path) -> None:
    sweep_dir = recorded("cnn", 1)
    promote(sweep_dir, gates={})
    task = load_sweep(sweep_dir).sweep.task()
    x = task.load("test").x
    answers = open_model("champion", own_home).predict(x)
    (removed,) = rm(["cnn"], own_home)
    assert removed.stays == [
        "version 1 of fersweep (champion) stays, with its own copy of the model",
        "1 judgement of its trials stays in the ledger of test",
    ]
    again = open_model("champion", own_home)
    assert (again.predict(x) == answers).all()
    record(write_sweep(own_home, tiny_dataset, 1, "cnn"))
    assert open_model("champion", own_home).origin.sweep is None, "not of the sweep that has the name now"
    assert [name for name in names_in(own_home) if not name.startswith("trial")] == [
        "line promote cnn:0",
        "promotion test of 0000",
        "sweep cnn",
    ]
    assert len(names_in(own_home)) == 4
    second = promote(own_home / "sweeps" / "cnn", gates={})
    assert (second.version, second.figures.asked) == (2, 2), "the first judgement still counts"


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("at", [1, 9, 18])
def test_what_a_kill_leaves_is_finished(at: int, own_home: Path, recorded: Recorded, bucket: str) -> None:
    """By the same command, or by gc; meanwhile no verb sees half a sweep."""
    storage = store_in_bucket(recorded("cnn"), bucket)
    other = recorded("other", 1)
    assert killed("rm(['cnn'], home)", own_home, at)
    if at == 1:  # nothing is changed
        check_all_recorded(own_home / "sweeps" / "cnn")
    else:
        assert sweep_names(own_home) == ["other"]
        assert len(hidden(own_home, REMOVED, "cnn")) == 1
        with pytest.raises(InputError, match="no sweep 'cnn'"):
            find_sweep(own_home, "cnn")
    if at % 2:
        rm(["cnn"], own_home)
    else:
        collected = gc(own_home)
        assert [(item.kind, item.removed) for item in collected.leftovers] == [("removals", True)], collected
    assert os.listdir(own_home / "sweeps") == ["other"]
    assert storage.sizes() == {}
    assert len(runs_in(own_home)) == 2
    check_all_recorded(other)


@pytest.mark.slow
@pytest.mark.processes
def test_beside_a_sweep_that_runs(own_home: Path, recorded: Recorded) -> None:
    recorded("cnn", 4)
    dataset = write_tiny_dataset(own_home / "data" / "tiny")
    from fersweep.data_pipeline.tasks.task import Task

    arrays = Task(dataset).arrays()
    running = write_sweep_json(own_home, dataset, arrays, "running")
    driver, recorder = FakeDriver(running, arrays), Recorder(running)
    with lock(running / LOCK):
        driver.journal.session("started")
        recorder.start()
        for trial in range(6):
            driver.run_trial(trial, {"rate": 0.1 + trial / 100}, 2, "finished")
            if trial == 2:
                with pytest.raises(InputError, match="running runs: `fersweep stop running` first"):
                    rm(["cnn", "running"], own_home)
                assert sweep_names(own_home) == ["cnn", "running"], "one that is refused keeps the others"
                rm(["cnn"], own_home)
                assert not [item for item in gc(own_home).leftovers if item.removed]
        driver.journal.session("finished")
        assert recorder.finish() is None
    driver.journal.close()
    check_all_recorded(running)
    assert len(runs_in(own_home)) == 7


@pytest.mark.slow
def test_a_sweep_in_a_bucket(own_home: Path, tiny_dataset: Path, bucket: str) -> None:
    sweep_dir = write_sweep(own_home, tiny_dataset, 2, "cnn")
    storage = store_in_bucket(sweep_dir, bucket)
    neighbour = Storage(storage.address.replace("/cnn?", "/cnn2?"))
    neighbour.write("sweep.json", b"{}")
    (planned,) = plan(["cnn"], own_home)
    assert (planned.bucket_objects, planned.bucket_bytes) == (len(storage.sizes()), sum(storage.sizes().values()))
    rm(["cnn"], own_home)
    assert storage.sizes() == {}
    assert neighbour.names("") == ["sweep.json"]
    assert sweep_names(own_home) == []


def test_a_bucket_out_of_reach_keeps_everything(own_home: Path, tiny_dataset: Path) -> None:
    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    change_asked(sweep_dir, storage="s3://nowhere/team?endpoint_override=127.0.0.1:9&scheme=http")
    before = snapshot(sweep_dir)
    with pytest.raises(RuntimeError, match="nothing of cnn is removed; --local removes its directory alone"):
        rm(["cnn"], own_home)
    assert snapshot(sweep_dir) == before
    rm(["cnn"], own_home, local=True)
    assert sweep_names(own_home) == []


@pytest.mark.slow
@pytest.mark.processes
def test_on_a_server(own_home: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    server = MlflowServer(tmp_path / "server")
    server.start()
    try:
        sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
        change_asked(sweep_dir, tracking={"uri": server.uri, "experiment": "mine"})
        assert record(sweep_dir)
        (removed,) = rm(["cnn"], own_home)
        assert removed.runs == 2
        assert any("until `mlflow gc`" in note for note in removed.notes)
        assert {run.info.lifecycle_stage for run in runs_in(own_home, server.uri)} <= {"deleted"}
        write_sweep(own_home, tiny_dataset, 1, "cnn")
        change_asked(sweep_dir, tracking={"uri": server.uri, "experiment": "mine"})
        assert record(sweep_dir)
        stages = [run.info.lifecycle_stage for run in runs_in(own_home, server.uri)]
        assert stages.count("active") == 2
    finally:
        server.kill()
    with pytest.raises(RuntimeError, match="nothing of cnn is removed"):
        rm(["cnn"], own_home)
    assert sweep_names(own_home) == ["cnn"]


def test_links_and_damage(own_home: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """What a link leads to stays, and is named; a sweep that cannot be read can be removed."""
    outside = tmp_path / "disk" / "sweeps" / "cnn"
    outside.parent.mkdir(parents=True)
    shutil.move(write_sweep(own_home, tiny_dataset, 1, "cnn"), outside)
    (own_home / "sweeps" / "cnn").symlink_to(outside)
    before = snapshot(outside)
    (removed,) = rm(["cnn"], own_home)
    assert any(f"the link is removed, and {outside} stays as it is" in note for note in removed.notes)
    assert snapshot(outside) == before
    assert sweep_names(own_home) == []

    damaged = write_sweep(own_home, tiny_dataset, 1, "odd")
    (damaged / "sweep.json").write_bytes(b"\0 no json")
    (damaged / "trials" / "0000" / "mine").symlink_to(outside)
    (removed,) = rm(["odd"], own_home)
    assert any("what it has in MLflow and in a bucket is not known" in note for note in removed.notes)
    assert any(note.endswith(f"what they lead to stays: trials/0000/mine to {outside}") for note in removed.notes)
    assert snapshot(outside) == before
    assert os.listdir(own_home / "sweeps") == []


@pytest.mark.slow
def test_a_copy_is_removed_without_what_belongs_to_the_sweep(own_home: Path, recorded: Recorded) -> None:
    sweep_dir = recorded("cnn", 1)
    shutil.copytree(sweep_dir, own_home / "sweeps" / "copy")
    (removed,) = rm(["copy"], own_home)
    assert removed.runs == 0
    assert any("is a copy of sweep cnn" in note for note in removed.notes)
    check_all_recorded(sweep_dir)


@pytest.mark.parametrize("name", ["nope", "..", "", "a/b", ".cnn.new", "-x", "é" * 200, "s3://bucket/cnn"])
def test_odd_names(own_home: Path, name: str) -> None:
    with pytest.raises(InputError) as refused:
        rm([name], own_home)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_home_that_can_only_be_read(own_home: Path, tiny_dataset: Path) -> None:
    write_sweep(own_home, tiny_dataset, 1, "cnn")
    own_home.chmod(0o555)
    try:
        assert plan(["cnn"], own_home)[0].trials == 1
        with pytest.raises(InputError, match="nothing can be written"):
            rm(["cnn"], own_home)
    finally:
        own_home.chmod(0o755)


def test_a_store_that_is_gone_is_no_store_without_runs(own_home: Path, tiny_dataset: Path) -> None:
    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    lag.LevelFile(sweep_dir, lag.store_of(read_sweep_json(sweep_dir))).written(100, closed=True)
    (own_home / "mlflow.db").unlink()
    with pytest.raises(RuntimeError, match=r"mlflow.db is missing, and cnn was recorded in it.*--local removes"):
        rm(["cnn"], own_home)
    with pytest.raises(RuntimeError, match=r"mlflow.db is missing.*nothing is renamed"):
        mv("cnn", "new", own_home)
    assert not (own_home / "mlflow.db").exists()
    rm(["cnn"], own_home, local=True)
    assert sweep_names(own_home) == []


def test_the_verb(
    own_home: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its names are checked before somebody is asked; after a Ctrl-C it says what finishes it."""
    sweep_dir = write_sweep(own_home, tiny_dataset, 1, "cnn")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(InputError, match="no sweep 'bogus'"):
        housekeeping.rm(["cnn", "bogus"], home=own_home)
    with pytest.raises(InputError, match="here is nobody to ask"):
        housekeeping.rm(["cnn"], home=own_home)

    def interrupted(*_: object, **__: object) -> None:
        sweep_dir.rename(hidden_path(sweep_dir, "3f2a9c81", REMOVED))
        raise KeyboardInterrupt

    monkeypatch.setattr(removal, "rm", interrupted)
    with pytest.raises(KeyboardInterrupt):
        housekeeping.rm(["cnn"], yes=True, home=own_home)
    assert capsys.readouterr().err.endswith(
        f"removing cnn broke off: `fersweep rm cnn --home {own_home}` finishes it\n"
    )
