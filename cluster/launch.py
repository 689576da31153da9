"""Launch a sweep, or go on with one that was interrupted: checks, the sweep's directory, then the run on Ray Tune."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import uuid
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from cluster import session
from cluster.search import Search
from cluster.sweep import Sweep
from data_pipeline.errors import InputError
from data_pipeline.task import Task, TaskArrays
from results.journal import Journal
from results.sweeps import load_sweep, sweep_task
from results.tracking import start_recorder
from trainables.metrics import majority_baseline

VERSIONS_OF = ("ray", "tensorflow", "torch", "keras", "optuna", "mediapipe", "mlflow", "numpy", "pandas", "pyarrow")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `state` is "finished" or "interrupted"."""

    state: str
    directory: Path


def describe(sweep: Sweep, data: Path, home: Path) -> tuple[dict[str, Any], TaskArrays]:
    """What `sweep.json` says: the resolved sweep, its data and its baseline. Checks the task against the dataset."""
    task = Task(data, sweep.task)
    arrays = task.arrays()
    for split, part in (("train", arrays.train), ("val", arrays.val)):
        if not len(part.y):
            raise InputError(f"{data}: the task leaves no faces in {split}")
    baseline: dict[str, Any] = majority_baseline(arrays.train.y, arrays.val.y, len(arrays.classes))
    baseline["majority_class"] = arrays.classes[int(baseline["majority_class"])]
    described = {
        "sweep": sweep.model_dump(mode="json"),
        "sweep_id": uuid.uuid4().hex,
        "dataset": {
            "path": str(Path(data).resolve()),
            "name": Path(data).resolve().name,
            "fingerprint": arrays.fingerprint,
            "classes": task.manifest["classes"],
        },
        "classes": arrays.classes,
        "feature_names": arrays.feature_names,
        "num_train": len(arrays.train.y),
        "num_val": len(arrays.val.y),
        "baseline": baseline,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["fersweep", *sys.argv[1:]]),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in VERSIONS_OF},
        "home": str(Path(home).resolve()),
    }
    return described, arrays


def _git_commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=session.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def launch(sweep: Sweep, data: Path, home: Path, address: str | None = None) -> Outcome:
    """Run a new sweep to its end. Everything is checked before anything is written."""
    directory = _refuse_existing(sweep, home)
    described, arrays = describe(sweep, data, home)
    session.connect(address)
    session.check_resources(sweep.resources.cpus, sweep.resources.gpus)
    directory.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{sweep.name}-"))
    (fresh / "sweep.json").write_text(json.dumps(described, indent=1))
    (fresh / "trials").mkdir()
    fresh.chmod(0o755)
    fresh.rename(directory)
    return _run(sweep, arrays, described, directory)


def dry(sweep: Sweep, data: Path, home: Path, address: str | None = None) -> str:
    """Check everything that `launch` checks → the resolved sweep as YAML, with its data in comments."""
    _refuse_existing(sweep, home)
    described, _ = describe(sweep, data, home)
    session.connect(address)
    at_once = session.check_resources(sweep.resources.cpus, sweep.resources.gpus)
    facts = (
        f"# data {described['dataset']['path']} ({described['dataset']['fingerprint'][:12]}): "
        f"{described['num_train']} train, {described['num_val']} val faces, {len(described['feature_names'])} features\n"
        f"# rungs at epochs {sweep.stop.rungs()}; {at_once} trials at once\n"
    )
    return facts + yaml.safe_dump(described["sweep"], sort_keys=False).rstrip()


def _refuse_existing(sweep: Sweep, home: Path) -> Path:
    directory = Path(home) / "sweeps" / sweep.name
    if directory.exists():
        raise InputError(
            f"{directory}: a sweep of this name exists; `fersweep resume {sweep.name}` goes on with it, --name starts another"
        )
    return directory


def resume(directory: Path, address: str | None = None) -> Outcome:
    """Go on with an interrupted sweep: ended trials stay as they are, the others go on from their last checkpoint."""
    described, _ = load_sweep(directory)
    sweep = Sweep.model_validate(described["sweep"])
    task = sweep_task(described)
    session.connect(address)
    session.check_resources(sweep.resources.cpus, sweep.resources.gpus)
    return _run(sweep, task.arrays(), described, directory)


def _run(sweep: Sweep, arrays: TaskArrays, described: dict[str, Any], directory: Path) -> Outcome:
    lock = (directory / "driver.lock").open("w")  # closed, and so released, with this process at the latest
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{directory}: another process is running this sweep: wait for it, or stop it") from None
    with lock:
        return _drive(sweep, arrays, described, directory)


def _drive(sweep: Sweep, arrays: TaskArrays, described: dict[str, Any], directory: Path) -> Outcome:
    journal = Journal(directory / "journal.jsonl")
    search = Search(sweep, journal)
    journal.session("started")
    recorder = start_recorder(directory)
    state = "failed"
    try:
        remaining = search.num_remaining()
        interrupted = remaining > 0 and _tune(search, arrays, directory, remaining, described["baseline"])
        state = "interrupted" if interrupted else "finished"
    except KeyboardInterrupt:
        state = "interrupted"
    finally:
        journal.session(state)
        journal.close()
        if recorder.wait():
            print(f"MLflow lacks a part of this sweep: {directory / 'recorder.log'} says why", file=sys.stderr)
    return Outcome(state, directory)


def _tune(search: Search, arrays: TaskArrays, directory: Path, remaining: int, baseline: dict[str, Any]) -> bool:
    """Run the remaining trials on Ray Tune; True if a signal ended the run early."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the journal is the log
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(24 * 3600)  # and the state
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # Tune prints nothing: progress.py does
    from ray import tune

    from cluster.adapters import SchedulerAdapter, SearchAdapter
    from cluster.progress import Progress
    from cluster.trial import Plan, TrialActor

    sweep = search.sweep
    plan = Plan(
        trainable=sweep.trainable,
        trials=(directory / "trials").resolve(),
        seed=sweep.search.seed,
        metric=sweep.stop.metric,
        mode=sweep.stop.mode,
        max_epochs=sweep.stop.max_epochs,
        rungs=tuple(sweep.stop.rungs()),
        report_s=sweep.stop.report_s,
    )
    name = sweep.stop.metric.removeprefix("val_")
    scratch = Path(tempfile.mkdtemp(prefix="fersweep-tune-"))
    try:
        with Progress(search, baseline.get(name)) as progress, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tune.run(
                tune.with_parameters(TrialActor, arrays=arrays, plan=plan),
                name=sweep.name,
                search_alg=SearchAdapter(search),
                scheduler=SchedulerAdapter(search),
                num_samples=remaining,
                max_concurrent_trials=session.check_resources(sweep.resources.cpus, sweep.resources.gpus),
                resources_per_trial={"cpu": sweep.resources.cpus, "gpu": sweep.resources.gpus},
                reuse_actors=True,
                max_failures=2,  # a lost worker is not the trial's fault; a trial's own faults never reach Tune
                raise_on_failed_trial=False,
                callbacks=[progress],
                storage_path=str(scratch),
                verbose=0,
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return any(trial.state == "running" for trial in search.record.trials.values()) or search.num_remaining() > 0
