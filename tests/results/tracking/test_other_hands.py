"""MLflow in other hands: names that it refuses, experiments and runs that somebody deleted or renamed there, another store."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fersweep.cluster.driver.stopping import Stopping
from fersweep.common.errors import InputError
from fersweep.results.dashboards.status import status
from fersweep.results.dashboards.sync import sync
from fersweep.results.mlflow_store import addresses, connection, limits, trial_files
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.tracking import lag, recorder_process
from fersweep.results.tracking import recorder as recorder_module
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.recorded import check_all_recorded, client_of, run_ids, runs_of
from tests.sweeps import METRIC, NewSweep

ODD = [
    "positive (happy, surprise)", "it's \"odd\"", "a/../b", "..", "/", "", "😀", "é", "x" * 300, "a\nb", "a$\\frac$b", "%s{0}",
    "\ud800", "\x1b[31m", "happy, sad", "happy; sad",
]  # fmt: skip


def change(sweep_dir: Path, **keys: Any) -> None:
    """Change parts of what a sweep was asked."""
    content = json.loads((sweep_dir / "sweep.json").read_text())
    for part, values in keys.items():
        content["sweep"][part] |= values
    (sweep_dir / "sweep.json").write_text(json.dumps(content))


def test_a_name_becomes_a_key_that_mlflow_takes() -> None:
    from mlflow.utils.validation import _validate_length_limit, _validate_param_name

    names = [*ODD, "..a", "./a", "a//b", "a/", " ", "a\n", "a:b", "x" * 299]
    keys = [limits.key(name) for name in names]
    for key in keys:
        _validate_param_name(key)
        _validate_length_limit("key", limits.KEY, key)
    assert len(set(keys)) == len(names), "no two names have one key"
    assert limits.key("happy, sad") == "happy_ sad-e5af9158", "as docs/how-to/sweep-files.md says"
    for name in ("best/val_macro_f1", "task.seed", "units_0", "é"):
        assert limits.key(name) == name
    assert limits.value("a\0\ud800" + "x" * 9, 6) == "a\N{REPLACEMENT CHARACTER}?xx…"


@pytest.mark.slow
def test_odd_names_are_recorded(home: Path, new_sweep: NewSweep) -> None:
    """Classes and labels as values; hparams and metrics as keys; texts that are too long are cut."""
    sweep_dir, driver = new_sweep()
    classes, balance = {name: ["happy"] for name in ODD}, dict.fromkeys(ODD, 3)
    change(sweep_dir, task={"classes": classes, "balance": balance, "sources": ["s" * 90] * 90})
    driver.journal.session("started")
    driver.sample(0, {f"rate {name}": "v" * 7000 for name in ODD})
    driver.report(0, [{"epoch": 1, METRIC: 0.5, **{f"val_f1_{name}": 0.375 for name in ODD}}])
    driver.end(0, "failed", "because\0 " + "of this " * 2000)
    driver.journal.session("failed")
    assert recorder_process.record(sweep_dir, patience_s=0)
    assert lag.missing(sweep_dir) is None
    parent, trial = runs_of(sweep_dir)["parent"], runs_of(sweep_dir)["0000"]
    params, sweep = parent.data.params, load_sweep(sweep_dir).sweep
    assert json.loads(params["task.classes"]) == sweep.asked.model_dump(mode="json")["task"]["classes"]
    assert len(json.loads(params["task.balance"])) == len(ODD)
    assert len(params["task.sources"]) == limits.PARAM
    assert len(trial.data.params) == len(ODD)
    assert sum(value == 0.375 for value in trial.data.metrics.values()) == len(ODD)
    assert trial.data.tags["fersweep.reason"].startswith("because")
    assert len(trial.data.tags["fersweep.reason"]) == limits.TAG


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201])
def test_a_class_that_cannot_be_shown_is_refused_at_launch(name: str) -> None:
    classes = json.dumps({name: ["happy"], "positive (happy, surprise)": ["sad"]})
    with pytest.raises(InputError, match=r"the name '.*' cannot be shown: want 1 to 200 characters") as refused:
        read_sweep("quick", [f"task.classes={classes}"])
    assert str(refused.value).isprintable()


def test_odd_names_are_drawn(tmp_path: Path) -> None:
    import numpy as np

    predictions = (np.arange(len(ODD)), np.eye(len(ODD)))
    trial_files.write_val_report(*predictions, ODD, tmp_path)
    trial = TrialRecord(0, {})
    trial.epochs.append({"epoch": 1.0, "val_loss": 0.5})
    trial_files.write_pictures(trial, "val_loss", "min", predictions, ODD, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "val_report.json",
        "val_report.txt",
        "learning_curve.png",
        "val_confusion.png",
    }


def test_long_names_leave_a_view_that_mlflow_takes(new_sweep: NewSweep) -> None:
    from fersweep.results.mlflow_store.saved_view import saved_view

    sweep_dir, _ = new_sweep()
    attributes = json.dumps({"attributes": {"low": 0.0, "high": 1.0, "log": False}})
    sweep = load_sweep(sweep_dir).sweep
    short = sweep.model_copy(update={"space": {"rate": attributes}})
    assert "params.`rate`" in saved_view(short)[1]
    long = sweep.model_copy(update={"space": {f"{'é(' * 200}{index}": attributes for index in range(40)}})
    assert len(saved_view(long)[1]) <= limits.EXPERIMENT_TAG


@pytest.mark.slow
def test_a_trial_that_mlflow_refuses(home: Path, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are recorded; it is not sent for ever, and said not to be late but lost to MLflow."""
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 2, "finished")
    driver.sample(1, {"rate (odd)": 0.1})
    driver.end(1, "stopped")
    driver.run_trial(2, {"rate": 0.1}, 2, "finished")
    driver.journal.session("finished")
    with monkeypatch.context() as patch:
        patch.setattr(limits, "key", str)
        assert recorder_process.record(sweep_dir, patience_s=0)
        runs = runs_of(sweep_dir)
        assert {name: run.info.status for name, run in runs.items()} == {
            "parent": "FINISHED", "0000": "FINISHED", "0001": "FAILED", "0002": "FINISHED",
        }  # fmt: skip
        assert "rate (odd)" in runs["0001"].data.tags["ended"]
        (synced,) = sync(status(home, sweep_dir.name))
        assert synced.failed
    lack = lag.missing(sweep_dir)
    assert lack is not None
    assert lack.startswith('MLflow can never record trial 0001: Invalid value "rate (odd)"')
    assert "--sync" not in lack
    (shown,) = status(home, sweep_dir.name)
    assert str(shown.mlflow).startswith("can never be recorded: trial 0001: Invalid value")
    assert recorder_process.record(sweep_dir, patience_s=0), "with another version of fersweep, say"
    assert lag.missing(sweep_dir) is None
    assert status(home, sweep_dir.name)[0].mlflow is None
    check_all_recorded(sweep_dir)


@pytest.mark.slow
def test_a_sweep_that_mlflow_refuses(home: Path, new_sweep: NewSweep) -> None:
    """At once, not after a minute's tries; its recorder is not started again."""
    sweep_dir, driver = new_sweep()
    change(sweep_dir, tracking={"experiment": "x" * 600})
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 2, "finished")
    driver.journal.session("finished")
    (late,) = status(home, sweep_dir.name)
    assert late.mlflow == "0 of 1 trial recorded, late: 5 events behind"
    with pytest.raises(recorder_process.NeverRecorded, match="can never record this sweep: 'name' exceeds the maximum"):
        recorder_process.record(sweep_dir, patience_s=math.inf)
    assert recorder_process.main([str(sweep_dir)]) == 0
    lack, (never,) = lag.missing(sweep_dir), status(home, sweep_dir.name)
    assert lack == "MLflow can never record the sweep: 'name' exceeds the maximum length of 500 characters"
    assert never.mlflow == "can never be recorded: the sweep: 'name' exceeds the maximum length of 500 characters"
    (synced,) = sync([never])
    assert (
        synced.sweep.sync == "MLflow can never record this sweep: 'name' exceeds the maximum length of 500 characters"
    )
    change(sweep_dir, tracking={"experiment": None})
    (late,) = status(home, sweep_dir.name)
    assert late.mlflow == "0 of 1 trial recorded, late: 5 events behind", (
        "what the other experiment lacks is another thing"
    )


@pytest.mark.slow
def test_what_was_deleted_or_renamed_in_mlflow(
    tmp_path: Path, empty_store: Path, new_sweep: NewSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same runs go on: those that were deleted are restored, each said once; a renamed experiment stays the sweep's."""
    sweep_dir, driver = new_sweep()
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    change(sweep_dir, tracking={"uri": addresses.sqlite_uri(tmp_path / "mlflow.db")})
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 2, "finished")
    driver.run_trial(1, {"rate": 0.2}, 2, "stopped")
    driver.journal.session("finished")
    assert recorder_process.record(sweep_dir, patience_s=0)
    ids, client = run_ids(sweep_dir), client_of(sweep_dir)
    experiment = client.get_run(ids["parent"]).info.experiment_id
    assert capsys.readouterr().err == ""

    client.delete_run(ids["0001"])
    assert recorder_process.record(sweep_dir, patience_s=0)
    assert capsys.readouterr().err == f"{sweep_dir.name}: a run that was deleted in MLflow: restored\n"
    client.delete_experiment(experiment)
    assert recorder_process.record(sweep_dir, patience_s=0)
    assert capsys.readouterr().err == "the experiment 'fersweep' was deleted in MLflow: it is restored, with its runs\n"
    check_all_recorded(sweep_dir)

    client.rename_experiment(experiment, "of others")
    connection.experiment_id(client, "fersweep", tmp_path)  # of newer sweeps
    assert recorder_process.record(sweep_dir, patience_s=0)
    assert capsys.readouterr().err == ""
    assert connection.open_store(load_sweep(sweep_dir).sweep)[1] == experiment
    runs = client.search_runs([experiment])
    assert {run.info.run_id for run in runs} == set(ids.values())


def test_the_environment_names_no_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    client = connection.open_home(home)
    other, ours = (connection.experiment_id(client, name, home) for name in ("other", "ours"))
    users = client.create_run(other).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", users)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", other)
    mlflow.set_tracking_uri(client.tracking_uri)
    with connection.without_fluent_environment(), mlflow.start_run(experiment_id=ours) as run:
        pass
    assert run.info.run_id != users
    assert run.info.experiment_id == ours
    with mlflow.start_run() as run:
        assert run.info.run_id == users, "the user's own program still has it"


def test_a_driver_says_what_it_waits_for(new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """With counts, again and again, until it has waited enough or somebody has."""
    sweep_dir, driver = new_sweep()
    for trial in range(3):
        driver.sample(trial, {"rate": 0.1})
    monkeypatch.setattr(recorder_module, "TELL_S", 0.0)
    monkeypatch.setattr(recorder_module, "TELL_EACH_S", 0.0)
    recorder, told = recorder_module.Recorder(sweep_dir), list[str]()
    recorder._child._process = process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        level = lag.LevelFile(sweep_dir)
        level.beat(2)
        lack = recorder.finish(600, told.append, lambda: len(told) == 1)
        level.failed("http://there does not answer")
        recorder.finish(600, told.append, lambda: len(told) == 2)
    finally:
        process.kill()
        process.wait()
    way = f"(Ctrl-C leaves it to: {lag.sync_command(sweep_dir)})"
    assert told == [
        f"waiting for MLflow: 2 of 3 trials are recorded {way}",
        f"waiting for MLflow: http://there does not answer; trying again {way}",
    ]
    assert lack is not None
    assert "its recorder is still at it" in lack


def test_ctrl_c_while_only_mlflow_is_waited_for() -> None:
    """Ends the wait, and nothing else: the sweep has ended already."""
    stopping = Stopping()
    with stopping.signals():
        stopping.ending = True
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert stopping.left
    assert (stopping.signal, stopping.asked) == (None, False)


def test_pages_without_end() -> None:
    """A server that gives the same page again and again."""
    from fersweep.results.mlflow_store.runs import all_runs

    class Page(list[Any]):
        token = "again"

    class Client:
        def search_runs(self, *_: object, **__: object) -> Page:
            return Page()

    start = time.monotonic()
    assert list(all_runs(Client(), "1", "")) == []  # type: ignore[arg-type]
    assert time.monotonic() - start < 60
