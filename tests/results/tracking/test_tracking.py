"""The recorder against a real MLflow store: everything once, whatever happens to it."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.mlflow_store import connection
from fersweep.results.mlflow_store.runs import METRICS_PER_CALL
from fersweep.results.record import journal
from fersweep.results.tracking import recorder, recorder_process
from fersweep.results.tracking.projection import Projection
from tests.processes import wait_until
from tests.recorded import check_all_recorded, history, runs_of, write
from tests.sweeps import METRIC, NewSweep, write_sweep

pytestmark = pytest.mark.slow

SCORES = ("train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy", METRIC, "epoch_s")


def test_a_finished_sweep(home: Path, arrays: TaskArrays) -> None:
    sweep_dir = write_sweep(home, home / "data" / "tiny", name="finished")
    recorder_process.record(sweep_dir)
    runs = check_all_recorded(sweep_dir)
    record, parent = journal.read(sweep_dir / "journal.jsonl"), runs["parent"]
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "finished"
    assert parent.data.metrics["trials/total"] == 4
    assert {s: parent.data.metrics[f"trials/{s}"] for s in ("finished", "stopped", "failed")} == {
        "finished": 2,
        "stopped": 1,
        "failed": 1,
    }
    best = record.ranked(METRIC, "max")[0]
    assert parent.data.metrics[f"best/{METRIC}"] == best.value(METRIC, "max")
    rising = [value for _, value in history(sweep_dir, parent, f"best/{METRIC}")]
    assert rising == sorted(set(rising))
    assert runs[best.name].data.metrics[f"best/{METRIC}"] == best.value(METRIC, "max")
    assert runs[best.name].data.metrics["best/epoch"] == best.best(METRIC, "max")["epoch"]  # pyright: ignore
    sweep = json.loads((sweep_dir / "sweep.json").read_text())
    for run in runs.values():
        assert run.data.tags["fersweep.fingerprint"] == sweep["dataset"]["fingerprint"]
        assert run.data.tags["mlflow.source.git.commit"] == sweep["git_commit"]
        assert run.data.tags["fersweep.seed"] == "7"
        (dataset,) = run.inputs.dataset_inputs
        assert sweep["dataset"]["fingerprint"].startswith(dataset.dataset.digest)
    assert parent.data.params["search.sampler"] == "tpe"
    assert "always" in parent.data.tags["mlflow.note.content"]
    assert "2.60.0" in parent.data.tags["fersweep.versions"]
    assert runs["0000"].data.tags["fersweep.point"] == "start"
    assert runs["0001"].data.tags["fersweep.reason"].startswith("worse")
    assert runs["0000"].info.start_time == int(record.trials[0].sampled_at * 1000)
    assert runs["0000"].info.end_time == int((record.trials[0].ended_at or 0) * 1000)


def test_nan_is_recorded_and_its_trial_failed(home: Path, new_sweep: NewSweep) -> None:
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.sample(0, {"rate": 0.1})
    driver.report(0, [{"epoch": 1, METRIC: math.nan, "val_loss": math.inf}, {"epoch": 2, METRIC: 0.5, "val_loss": 1.0}])
    driver.end(0, "failed", "val_macro_f1 is nan at epoch 1")
    driver.sample(1, {"rate": 0.1})
    driver.report(1, [{"epoch": 1, METRIC: math.nan}])
    driver.end(1, "failed", "all NaN")
    driver.sample(2, {"rate": 0.1})
    driver.end(2, "failed", "no epoch")
    driver.journal.session("failed")
    recorder_process.record(sweep_dir)
    runs = runs_of(sweep_dir)
    assert [run.info.status for run in runs.values()] == ["FAILED"] * 4
    (first, second) = history(sweep_dir, runs["0000"], METRIC)
    assert first[0] == 1
    assert math.isnan(first[1])
    assert second == (2, 0.5)
    assert runs["0000"].data.metrics[f"best/{METRIC}"] == 0.5
    assert f"best/{METRIC}" not in runs["0001"].data.metrics
    assert runs["0000"].data.tags["fersweep.reason"] == "val_macro_f1 is nan at epoch 1"
    assert runs["0002"].data.params == {"rate": "0.1"}


def test_recording_again_changes_nothing(home: Path, new_sweep: NewSweep) -> None:
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 5, "finished")
    driver.journal.session("finished")
    recorder_process.record(sweep_dir)
    before = {name: run.to_dictionary() for name, run in check_all_recorded(sweep_dir).items()}
    recorder_process.record(sweep_dir)
    assert {name: run.to_dictionary() for name, run in check_all_recorded(sweep_dir).items()} == before


class Killed(BaseException):
    """What SIGKILL looks like from inside: nothing catches it."""


def test_killed_at_every_call_and_begun_again(home: Path, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorder dies before its k-th write, for every k; the next one finds all and doubles nothing."""
    from mlflow.tracking import MlflowClient

    writes = ("create_run", "log_batch", "log_inputs", "log_artifacts", "set_terminated", "update_run")
    calls: Counter[str] = Counter()
    limit = math.inf
    for name in writes:
        owner: Any = connection if name == "log_artifacts" else MlflowClient
        real = getattr(owner, name)

        def counted(*args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
            if calls.total() >= limit:
                raise Killed
            calls[_name] += 1
            return _real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    def sweep() -> Path:
        sweep_dir, driver = new_sweep()
        driver.journal.session("started")
        driver.run_trial(0, {"rate": 0.1}, 3, "finished")
        driver.run_trial(1, {"rate": 0.2}, 2, "stopped")
        driver.journal.session("finished")
        return sweep_dir

    recorder_process.record(sweep())
    total = calls.total()
    assert total >= 12
    assert set(calls) == set(writes) - {"update_run"}
    for k in range(total):
        sweep_dir = sweep()
        calls.clear()
        limit = k
        with pytest.raises(Killed):
            recorder_process.record(sweep_dir)
        limit = math.inf
        recorder_process.record(sweep_dir)
        check_all_recorded(sweep_dir)


def test_killed_after_every_event_and_begun_again(home: Path, new_sweep: NewSweep) -> None:
    """Each prefix of a journal meets a recorder of its own, which finds in the store what those before it left."""
    sweep_dir, driver = new_sweep()
    for action in ("interrupted", "finished"):
        driver.journal.session("started")
        number = len(driver.journal.record.trials)
        driver.run_trial(number, {"rate": 0.1}, 3, "finished", chunk=1)
        driver.journal.append("reopened", trial=number)
        driver.report(number, [{"epoch": 4, **dict.fromkeys(SCORES, 0.5)}])
        driver.journal.append("fault", trial=number, kind="trial", reason="its process died")
        driver.end(number, "failed", "its process died (3 attempts)")
        driver.run_trial(number + 1, {"rate": 0.2}, 2, "stopped")
        driver.journal.session(action)
    path = sweep_dir / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 20
    path.write_bytes(b"")
    for line in lines:
        with path.open("ab") as file:
            file.write(line)
        projection = Projection(sweep_dir)
        projection.read()
        projection.write(closing=False)
        for trial in itertools.islice(projection.without_pictures(), 1):
            projection.draw(trial)
    recorder_process.record(sweep_dir)
    check_all_recorded(sweep_dir)


def test_interrupted_and_resumed(home: Path, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same runs go on, and no epoch is even sent twice (the store would drop it, but that is its business)."""
    from mlflow.tracking import MlflowClient

    sent: Counter[tuple[str, int]] = Counter()
    real = MlflowClient.log_batch

    def log_batch(self: Any, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        sent.update((m.key, m.step) for m in metrics if m.key in SCORES)
        real(self, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.sample(0, {"rate": 0.1})
    rows = [{"epoch": epoch, **dict.fromkeys(SCORES, epoch / 10)} for epoch in range(1, 7)]
    driver.report(0, rows[:3])
    projection = Projection(sweep_dir)
    projection.read()
    projection.write(closing=False)
    ids = {name: run.info.run_id for name, run in runs_of(sweep_dir).items()}
    assert [run.info.status for run in runs_of(sweep_dir).values()] == ["RUNNING"] * 2
    driver.journal.session("interrupted")
    recorder_process.record(sweep_dir)
    assert [run.info.status for run in runs_of(sweep_dir).values()] == ["KILLED"] * 2

    driver.journal.session("started")
    driver.report(0, rows[1:5])  # from its last checkpoint: epochs 2 and 3 are told again
    projection = Projection(sweep_dir)
    projection.read()
    projection.write(closing=False)
    assert [run.info.status for run in runs_of(sweep_dir).values()] == ["RUNNING"] * 2
    assert history(sweep_dir, runs_of(sweep_dir)["0000"], "val_loss") == [(e, e / 10) for e in range(1, 6)]
    driver.report(0, rows[5:])
    driver.end(0, "stopped")
    driver.journal.session("finished")
    write(projection, closing=True)
    runs = check_all_recorded(sweep_dir)
    assert {name: run.info.run_id for name, run in runs.items()} == ids
    assert sent == {(name, epoch): 1 for name in SCORES for epoch in range(1, 7)}
    assert runs["parent"].info.status == "FINISHED"


def test_a_long_report_is_split(home: Path, new_sweep: NewSweep) -> None:
    sweep_dir, driver = new_sweep()
    num_epochs = METRICS_PER_CALL // len(SCORES) * 2 + 7
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.01}, num_epochs, "finished", chunk=num_epochs)
    driver.journal.session("finished")
    recorder_process.record(sweep_dir)
    check_all_recorded(sweep_dir)


def test_a_store_that_fails_is_tried_again(home: Path, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 3, "finished")
    driver.journal.session("finished")
    failures = iter([ConnectionError("no server")] * 2)
    real = Projection.write

    def write(self: Projection, closing: bool) -> None:
        if (error := next(failures, None)) is not None:
            raise error
        real(self, closing)

    monkeypatch.setattr(Projection, "write", write)
    monkeypatch.setattr(recorder_process, "POLL_S", 0.01)
    assert recorder_process.record(sweep_dir)
    check_all_recorded(sweep_dir)
    failures = iter([ConnectionError("no server")] * 99)
    with pytest.raises(
        recorder_process.NotRecorded, match=rf"no server; made good by: fersweep status {sweep_dir.name} --sync"
    ):
        recorder_process.record(sweep_dir, patience_s=0.1)


def test_a_driver_that_is_gone(home: Path, new_sweep: NewSweep) -> None:
    """The journal just stops: what it tells is recorded, and nothing stays open."""
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 3, "finished")
    driver.sample(1, {"rate": 0.1})
    with (sweep_dir / "journal.jsonl").open("a") as file:
        file.write('{"event": "report", "trial": 1, "ti')
    recorder_process.record(sweep_dir, parent_pid=2**22 + 1)
    runs = runs_of(sweep_dir)
    assert {name: run.info.status for name, run in runs.items()} == {
        "parent": "KILLED",
        "0000": "FINISHED",
        "0001": "KILLED",
    }


@pytest.mark.processes
def test_the_process_follows_survives_kill_and_ends_itself(home: Path, new_sweep: NewSweep) -> None:
    """A resumed sweep, its recorder killed (-9) half-way, a second one started; it ends with the session."""
    sweep_dir, driver = new_sweep()
    driver.journal.append("session", action="started", pid=1, host="elsewhere")
    driver.journal.append("session", action="interrupted", pid=1, host="elsewhere")
    first = recorder.start_recorder(sweep_dir)  # this driver's session has not begun: it has to wait for it
    wait_until(lambda: "parent" in runs_of(sweep_dir))
    assert first.poll() is None
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 4, "finished")
    wait_until(lambda: "0000" in runs_of(sweep_dir))
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = recorder.start_recorder(sweep_dir)
    driver.run_trial(1, {"rate": 0.2}, 4, "stopped")
    driver.journal.session("finished")
    assert second.wait(timeout=60) == 0
    runs = check_all_recorded(sweep_dir)
    assert runs["parent"].info.status == "FINISHED"
    assert (sweep_dir / "recorder.log").read_text() == ""


@pytest.mark.processes
def test_a_driver_imports_no_mlflow() -> None:
    code = "import sys, fersweep.results.tracking.recorder_process, fersweep.results.compare.trials; print([m for m in ('mlflow', 'ray') if m in sys.modules])"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
