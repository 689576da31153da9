"""Find and read what a sweep left on disk: `sweep.json` (what was asked) and the journal (what happened).

Imports neither MLflow nor a framework, so that looking at a sweep is instant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.task import Task, TaskSpec
from results import journal
from results.journal import SweepRecord, TrialRecord


def find_sweep(home: Path, name: str) -> Path:
    """The directory of the sweep `name` under `home`. Raises InputError naming the sweeps that are there."""
    sweeps = Path(home) / "sweeps"
    if (sweeps / name / "sweep.json").is_file():
        return sweeps / name
    known = sorted(path.parent.name for path in sweeps.glob("*/sweep.json"))
    hint = f"known: {', '.join(known)}" if known else "there are none yet (fersweep launch makes one)"
    raise InputError(f"no sweep {name!r} in {sweeps}: {hint}")


def load_sweep(sweep_dir: Path) -> tuple[dict[str, Any], SweepRecord]:
    """The contents of `sweep.json` and the replayed journal. Raises InputError if the former cannot be read."""
    path = Path(sweep_dir) / "sweep.json"
    try:
        sweep = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a sweep's record: {error}") from error
    return sweep, journal.read(Path(sweep_dir) / "journal.jsonl")


def objective(sweep: dict[str, Any]) -> tuple[str, str]:
    """Name and mode (`max` or `min`) of the metric that the sweep ranks its trials by."""
    stop = sweep["sweep"]["stop"]
    return stop["metric"], stop["mode"]


def best_checkpoint(sweep_dir: Path, trial: TrialRecord) -> Path:
    """Directory of a trial's checkpoint at its best epoch; there is none before its first report."""
    return Path(sweep_dir) / "trials" / trial.name / "best"


def val_predictions(sweep_dir: Path, trial: TrialRecord) -> tuple[np.ndarray, np.ndarray] | None:
    """y (N,) and probabilities (N, C) float32 on val at the trial's best epoch; None while they are not written."""
    path = best_checkpoint(sweep_dir, trial) / "val.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as archive:
        return archive["y"], archive["probabilities"]


def choose_trial(sweep_dir: Path, sweep: dict[str, Any], record: SweepRecord, trial: int | None) -> TrialRecord:
    """The trial asked for, else the best that has a checkpoint. Raises InputError if there is none."""
    ranked = [one for one in record.ranked(*objective(sweep)) if trial in (None, one.number)]
    for one in ranked:
        if (best_checkpoint(sweep_dir, one) / "model.json").is_file():
            return one
    name = sweep["sweep"]["name"]
    which = f"trial {trial} of sweep {name!r}" if trial is not None else f"no trial of sweep {name!r}"
    numbers = ", ".join(str(number) for number in record.trials) or "none yet"
    raise InputError(f"{which} has {'no' if trial is not None else 'a'} checkpoint; trials: {numbers}")


def sweep_task(sweep: dict[str, Any]) -> Task:
    """The task of a sweep, on its dataset. Raises InputError if the dataset has changed since, or is gone."""
    task = Task(Path(sweep["dataset"]["path"]), TaskSpec(**sweep["sweep"]["task"]))
    found, learned = task.manifest["fingerprint"], sweep["dataset"]["fingerprint"]
    if found != learned:
        raise InputError(
            f"{task.dataset}: its fingerprint {found[:12]} is not that of the data that the sweep learned, {learned[:12]}: "
            "launch a new sweep on it"
        )
    return task
