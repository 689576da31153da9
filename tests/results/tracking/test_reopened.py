"""What MLflow shows of a sweep while it goes on: the status of its run, trials that run again, a recorder that dies."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from fersweep.results.tracking import lag, recorder_process
from fersweep.results.tracking import recorder as recorder_module
from fersweep.results.tracking.projection import Projection
from tests.processes import wait_until
from tests.recorded import check_all_recorded, client_of, history, run_ids, runs_of, write
from tests.sweeps import METRIC, FakeDriver, NewSweep

pytestmark = pytest.mark.slow

METRICS = ("train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy", METRIC, "epoch_s")


@pytest.fixture
def driver(new_sweep: NewSweep) -> FakeDriver:
    return new_sweep()[1]


@pytest.fixture
def sweep_dir(driver: FakeDriver) -> Path:
    return driver.sweep_dir


def statuses(sweep_dir: Path) -> dict[str, str]:
    return {name: run.info.status for name, run in runs_of(sweep_dir).items()}


def rows(first: int, last: int) -> list[dict[str, float]]:
    return [{"epoch": epoch, **dict.fromkeys(METRICS, epoch / 100)} for epoch in range(first, last + 1)]


@pytest.mark.parametrize("restarted", [False, True], ids=["one-recorder", "recorder-restarted"])
def test_a_trial_that_ended_runs_again(sweep_dir: Path, driver: FakeDriver, restarted: bool) -> None:
    """Its run goes back to RUNNING, gets the new epochs, and ends anew; seen by one recorder, or by one each."""
    projection = Projection(sweep_dir)
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 4, "finished")
    driver.sample(1, {"rate": 0.2})
    driver.report(1, rows(1, 3))
    driver.end(1, "failed", "val_loss is nan at epoch 3")
    driver.journal.session("finished")
    before = write(projection, closing=True)
    ids = run_ids(sweep_dir)
    check_all_recorded(sweep_dir)
    assert before["parent"].info.status == "FINISHED"

    driver.journal.session("started")
    for trial in (0, 1):
        driver.journal.append("reopened", trial=trial)
    driver.report(0, rows(5, 6))
    projection = Projection(sweep_dir) if restarted else projection
    runs = write(projection)
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(ids, "RUNNING")
    assert [runs[name].data.tags["fersweep.state"] for name in ("0000", "0001")] == ["running"] * 2
    assert "fersweep.reason" not in runs["0001"].data.tags
    assert [step for step, _ in history(sweep_dir, runs["0000"], METRIC)] == [1, 2, 3, 4, 5, 6]

    driver.report(0, rows(7, 8))
    driver.end(0, "finished")
    driver.report(1, rows(4, 5))
    driver.end(1, "stopped", "worse than the others at epoch 5")
    driver.journal.session("finished")
    projection = Projection(sweep_dir) if restarted else projection
    write(projection, closing=True)
    runs = check_all_recorded(sweep_dir)
    assert run_ids(sweep_dir) == ids
    assert runs["0000"].data.metrics["best/epoch"] == 4, "its first epochs were better"
    assert runs["0001"].data.metrics["best/epoch"] == 5
    text = projection.runs.client.download_artifacts(ids["0000"], "history.csv")
    assert len(Path(text).read_text().splitlines()) == 1 + 8, "the files are those of all epochs"


def test_a_trial_that_ran_again_while_nobody_recorded(sweep_dir: Path, driver: FakeDriver) -> None:
    """Ended as before, with more epochs or none: the time of its end tells."""
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 4, "finished")
    driver.sample(1, {"rate": 0.1})
    driver.end(1, "failed", "out of memory")
    driver.journal.session("finished")
    assert recorder_process.record(sweep_dir)
    ids = run_ids(sweep_dir)
    driver.journal.session("started")
    for trial in (0, 1):
        driver.journal.append("reopened", trial=trial)
    driver.report(0, rows(5, 6))
    driver.end(0, "finished")
    driver.end(1, "failed", "val_loss is nan at epoch 1")
    driver.journal.session("finished")
    assert recorder_process.record(sweep_dir)
    runs = check_all_recorded(sweep_dir)
    assert run_ids(sweep_dir) == ids
    assert runs["0001"].data.tags["fersweep.reason"] == "val_loss is nan at epoch 1"
    before = {name: run.to_dictionary() for name, run in runs.items()}
    assert recorder_process.record(sweep_dir)
    assert {name: run.to_dictionary() for name, run in runs_of(sweep_dir).items()} == before


def test_events_that_mlflow_is_not_told(sweep_dir: Path, driver: FakeDriver) -> None:
    driver.journal.append("history", hparams={"rate": 0.3}, epochs=rows(1, 9), state="finished", sweep="older")
    driver.journal.session("started")
    driver.sample(0, {"rate": 0.1})
    driver.report(0, rows(1, 2))
    driver.journal.append("fault", trial=0, kind="infrastructure", reason="a worker was lost")
    driver.journal.append("something", trial=0, of="the future")
    driver.journal.append("something", of="the future")
    driver.report(0, rows(2, 3))
    driver.end(0, "stopped")
    driver.journal.session("finished")
    assert recorder_process.record(sweep_dir)
    runs = check_all_recorded(sweep_dir)
    assert set(runs) == {"parent", "0000"}
    assert runs["parent"].data.metrics["epochs/total"] == 3


@pytest.mark.parametrize(
    ("last", "status"), [("finished", "FINISHED"), ("failed", "FAILED"), ("interrupted", "KILLED")]
)
def test_the_sweep_has_its_drivers_status(sweep_dir: Path, driver: FakeDriver, last: str, status: str) -> None:
    """RUNNING while a driver runs it, again and again, whoever ended it how before."""
    projection = Projection(sweep_dir)
    for number in (0, 1):
        driver.journal.session("started")
        driver.sample(number, {"rate": 0.1})
        assert write(projection)["parent"].info.status == "RUNNING"
        driver.end(number, "failed", "no epoch")
        driver.journal.session(last)
        parent = write(projection, closing=True)["parent"]
        assert parent.info.status == status
        assert parent.info.end_time == int(projection._time * 1000)
    check_all_recorded(sweep_dir)


def test_level_while_a_driver_runs(sweep_dir: Path, driver: FakeDriver) -> None:
    """Whoever brings MLflow level beside a living driver closes nothing; once it is gone, all of it."""
    import fcntl

    driver.journal.session("started")
    driver.sample(0, {"rate": 0.1})
    driver.report(0, rows(1, 2))
    with (sweep_dir / "driver.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert recorder_process.record(sweep_dir)
        assert statuses(sweep_dir) == {"parent": "RUNNING", "0000": "RUNNING"}
        with (sweep_dir / "recorder.lock").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert not recorder_process.record(sweep_dir), "another recorder is at work"
        assert not recorder_process.record(sweep_dir, parent_pid=2**22 + 1), (
            "of a driver that is gone, beside the next one"
        )
    assert recorder_process.record(sweep_dir)
    assert statuses(sweep_dir) == {"parent": "KILLED", "0000": "KILLED"}


def test_pictures_are_drawn_last(sweep_dir: Path, driver: FakeDriver) -> None:
    """A recorder that dies before it has drawn them leaves none, not those of an earlier end; the next one draws them."""

    def pictures() -> set[str]:
        run = runs_of(sweep_dir)["0000"]
        files = {file.path for file in client_of(sweep_dir).list_artifacts(run.info.run_id)}
        assert {"hparams.json", "history.csv"} < files
        return {file for file in files if file.endswith(".png")}

    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 2, "stopped")
    write(Projection(sweep_dir))
    assert pictures() == {"learning_curve.png"}
    driver.journal.append("reopened", trial=0)
    driver.report(0, rows(3, 4))
    driver.end(0, "stopped")
    driver.journal.session("finished")
    dying = Projection(sweep_dir)
    dying.read()
    dying.write(closing=True)
    assert pictures() == set()
    closed: list[set[str]] = []
    assert recorder_process.record(sweep_dir, closed=lambda: closed.append(pictures()))
    assert closed == [set()]
    check_all_recorded(sweep_dir)
    assert list(dying.without_pictures()) == [dying.record.trials[0]]
    assert list(Projection(sweep_dir).without_pictures()) == [], "nothing was read yet"


def test_nothing_is_made_where_a_sweep_was(sweep_dir: Path, driver: FakeDriver) -> None:
    """Removed before its pictures were drawn, with its runs' files."""
    driver.journal.session("started")
    for number in (0, 1):
        driver.run_trial(number, {"rate": 0.1}, 2, "stopped")
    driver.journal.session("finished")
    projection = Projection(sweep_dir)
    projection.read()
    projection.write(closing=True)
    trials = list(projection.without_pictures())
    driver.journal.close()
    artifacts = sweep_dir.parents[1] / "artifacts"
    places = [sweep_dir, *(artifacts / recorded.run_id for recorded in projection.runs.trials.values())]
    for place in places:
        shutil.rmtree(place)
    for trial in trials:
        projection.draw(trial)
    assert len(trials) == 2
    assert not any(place.exists() for place in places)


@pytest.mark.processes
def test_a_recorder_that_is_killed_is_started_again(sweep_dir: Path, driver: FakeDriver) -> None:
    recorder = recorder_module.Recorder(sweep_dir)
    driver.journal.session("started")
    recorder.start()
    driver.run_trial(0, {"rate": 0.1}, 3, "finished")
    wait_until(lambda: lag.read_level(sweep_dir).offset)
    assert statuses(sweep_dir)["parent"] == "RUNNING"
    recorder.check()
    first = recorder.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    driver.run_trial(1, {"rate": 0.1}, 3, "stopped")

    def another() -> bool:
        recorder.check()
        return recorder.pid != first

    wait_until(another)
    driver.journal.session("finished")
    assert recorder.finish() is None
    check_all_recorded(sweep_dir)
    (line,) = (sweep_dir / "recorder.log").read_text().splitlines()
    assert line.endswith(" the recorder died (SIGKILL); started again")
    last = recorder.pid
    recorder.check()
    assert recorder.pid == last, "it has done its work"


def test_a_run_that_was_made_twice(sweep_dir: Path, driver: FakeDriver) -> None:
    """A call that was given up and arrived all the same: the run that nothing was written to goes."""
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 2, "finished")
    driver.sample(1, {"rate": 0.1})
    driver.report(1, rows(1, 2))
    projection = Projection(sweep_dir)
    write(projection)
    ids = run_ids(sweep_dir)
    for kept in (projection.runs.parent, *projection.runs.trials.values()):
        assert kept is not None
        run = projection.runs.client.get_run(kept.run_id)
        projection.runs.client.create_run(
            projection.runs.experiment_id, run.info.start_time, run.data.tags, run.info.run_name
        )
    driver.end(1, "stopped")
    driver.journal.session("finished")
    projection.forget()
    write(projection, closing=True)
    check_all_recorded(sweep_dir)
    assert run_ids(sweep_dir) == ids
