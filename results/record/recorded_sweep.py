"""What a sweep's trials left: checkpoints and predictions of the best epoch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.results.record import checkpoints
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import objective, sweep_storage


def kept_trials(sweep: dict[str, Any], record: SweepRecord) -> list[TrialRecord]:
    """The ended trials whose best checkpoint is kept, best first: `keep_checkpoints` of the whole sweep."""
    return record.kept(*objective(sweep), sweep["sweep"].get("keep_checkpoints"))


def best_checkpoint(sweep_dir: Path, sweep: dict[str, Any], trial: TrialRecord) -> Path | None:
    """Local directory of a trial's checkpoint at its best epoch, checked; None where it was not kept, or not yet made.

    Raises RuntimeError if it is damaged.
    """
    best = trial.best(*objective(sweep))
    if best is None:
        return None
    with contextlib.suppress(FileNotFoundError):
        storage = sweep_storage(sweep_dir, sweep)
        return checkpoints.fetch(storage, trial.number, int(best["epoch"]), Path(sweep_dir))
    return None


def val_predictions(sweep_dir: Path, sweep: dict[str, Any], trial: TrialRecord) -> tuple[np.ndarray, np.ndarray] | None:
    """y (N,) and probabilities (N, C) float32 on val at the trial's best epoch; None while they are not written."""
    local, storage = Storage(sweep_dir), sweep_storage(sweep_dir, sweep)
    found = checkpoints.read_predictions(local, trial.number)
    if found is None and storage.path is None:
        found = checkpoints.read_predictions(storage, trial.number)
        if found is not None and trial.state != "running":
            best = trial.best(*objective(sweep)) or {"epoch": 0}
            checkpoints.save_predictions(local, trial.number, int(best["epoch"]), *found)
    return found


def choose_trial(
    sweep_dir: Path, sweep: dict[str, Any], record: SweepRecord, number: int | None
) -> tuple[TrialRecord, Path]:
    """The trial asked for, else the best that has a checkpoint, and that checkpoint. Raises InputError if there is none."""
    for trial in record.ranked(*objective(sweep)):
        if number in (None, trial.number) and (found := best_checkpoint(sweep_dir, sweep, trial)):
            return trial, found
    name = sweep["sweep"]["name"]
    if number is None:
        raise InputError(f"no trial of sweep {name!r} has a checkpoint yet")
    if number in record.trials:
        kept = [trial.name for trial in kept_trials(sweep, record)]
        raise InputError(
            f"trial {number} of sweep {name!r} has no checkpoint: those of the best {len(kept)} are kept "
            f"({', '.join(kept)}); keep_checkpoints in the sweep file says how many"
        )
    raise InputError(f"sweep {name!r} has no trial {number}; trials: 0 to {len(record.trials) - 1}")
