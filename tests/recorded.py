"""What MLflow should hold of a sweep: its journal, and nothing else."""

import fcntl
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.results.mlflow_store import connection, run_fields
from fersweep.results.record import journal
from fersweep.results.record.recorded_sweep import RecordedSweep, load_sweep
from fersweep.results.tracking.projection import Projection

SWEEP_STATUS = {"finished": "FINISHED", "failed": "FAILED"}
TRIAL_STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "running": "KILLED"}


def client_of(sweep_dir: Path) -> Any:
    return connection.connect(connection.sweep_store(load_sweep(sweep_dir).sweep)[0])


def runs_of(sweep_dir: Path) -> dict[str, Any]:
    """The sweep's runs in MLflow: its trials by name, and the parent as `parent`; fails where one is double."""
    sweep = load_sweep(sweep_dir).sweep
    client = client_of(sweep_dir)
    experiment = client.get_experiment_by_name("fersweep")
    if experiment is None:
        return {}
    runs = client.search_runs([experiment.experiment_id], f"tags.`fersweep.sweep_id` = '{sweep.sweep_id}'")
    kinds = [run.data.tags["fersweep.kind"] for run in runs]
    names = [
        "parent" if kind == "sweep" else f"{int(run.data.tags['fersweep.trial']):04d}" if kind == "trial" else kind
        for kind, run in zip(kinds, runs, strict=True)
    ]
    assert len(set(names)) == len(names), f"double runs: {names}"
    return dict(zip(names, runs, strict=True))


def run_ids(sweep_dir: Path) -> dict[str, str]:
    return {name: run.info.run_id for name, run in runs_of(sweep_dir).items()}


def write(projection: Projection, closing: bool = False) -> dict[str, Any]:
    """Bring MLflow level with the journal, pictures included; → its runs."""
    projection.read()
    projection.write(closing)
    for trial in list(projection.without_pictures()):
        projection.draw(trial)
    return runs_of(projection.sweep_dir)


def history(sweep_dir: Path, run: Any, metric: str) -> list[tuple[int, float]]:
    """(epoch, value) of every point that MLflow holds, in the order of its times."""
    points = client_of(sweep_dir).get_metric_history(run.info.run_id, metric)
    return [(point.step, point.value) for point in sorted(points, key=lambda point: (point.timestamp, point.step))]


def check_all_recorded(sweep_dir: Path) -> dict[str, Any]:
    """MLflow holds what the journal says, of a sweep that no driver runs: every epoch of every trial exactly once and
    in order, every end, every file; returns the runs.
    """
    with (sweep_dir / "recorder.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a recorder may still be at it where the machine is busy
    runs, record = runs_of(sweep_dir), journal.read(sweep_dir / "journal.jsonl")
    assert set(runs) - {"promotion"} == {"parent", *(trial.name for trial in record.trials.values())}
    assert runs["parent"].info.status == SWEEP_STATUS.get(record.action or "", "KILLED")
    for run in runs.values():
        assert len(run.inputs.dataset_inputs) == 1
    for trial in record.trials.values():
        run = runs[trial.name]
        assert run.info.status == TRIAL_STATUS[trial.state], trial
        assert run.data.tags["fersweep.state"] == trial.state
        assert run.data.tags.get("fersweep.reason") == trial.reason
        assert trial.state == "running" or run.data.tags["ended"] == trial.ended
        assert run.data.tags["mlflow.parentRunId"] == runs["parent"].info.run_id
        named = run_fields.trial_params(load_sweep(sweep_dir).sweep, trial)
        older = {**trial.params, **trial.hparams}  # MLflow lets no param be changed
        assert run.data.params in [{param.key: param.value for param in run_fields.params(p)} for p in (named, older)]
        if trial.ended_at:
            assert run.info.end_time == int(trial.ended_at * 1000)
            assert run.info.run_name == run_fields.run_name(load_sweep(sweep_dir).sweep, trial)
        for name in trial.epochs[0] if trial.epochs else ():
            if name != "epoch":
                points = [(row["epoch"], row[name]) for row in trial.epochs]
                np.testing.assert_array_equal(history(sweep_dir, run, name), points, f"{trial.name} {name}")
        used = [(report.epoch, report.worker.cpu_percent) for report in trial.reports if report.worker]
        assert history(sweep_dir, run, "system/cpu_percent") == used, trial.name
        stored, wanted = _files(sweep_dir, run), _wanted_files(sweep_dir, record, trial)
        assert stored == wanted, f"{trial.name}: stored {sorted(stored)}, wanted {sorted(wanted)}"
    return runs


def _files(sweep_dir: Path, run: Any) -> set[str]:
    return {file.path for file in client_of(sweep_dir).list_artifacts(run.info.run_id)}


def _wanted_files(sweep_dir: Path, record: journal.SweepRecord, trial: journal.TrialRecord) -> set[str]:
    recorded = RecordedSweep(sweep_dir, load_sweep(sweep_dir).sweep, record)
    wanted = set()
    if trial.state != "running":
        wanted |= {"hparams.json"} | ({"history.csv", "learning_curve.png"} if trial.epochs else set())
    judged = trial.state == "finished" or (trial.reopened and trial.state != "running")
    if judged and recorded.val_predictions(trial) is not None:
        wanted |= {"val_confusion.png", "val_report.json", "val_report.txt"}
    if trial in recorded.kept_trials() and recorded.best_checkpoint(trial):
        wanted.add("checkpoint")
    return wanted
