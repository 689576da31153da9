"""The trials that may be members of an ensemble, with their answers to the same faces of val.

pool = gather([load_sweep(directory), …])
pool.trials[0].name, pool.probabilities     # (T, N, C): rows of NaN where a trial does not see a face
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.recorded_sweep import RecordedSweep


@dataclass(frozen=True)
class PooledTrial:
    """A trial that has a checkpoint and answers on val."""

    recorded: RecordedSweep
    trial: TrialRecord
    checkpoint: Path

    @property
    def name(self) -> str:
        """`cnn:7`."""
        return f"{self.recorded.sweep.name}:{self.trial.number}"


@dataclass(frozen=True)
class Pool:
    """T trials, N faces that any of them sees, C classes.

    Attributes:
        y: (N,) class indices.
        probabilities: (T, N, C) float32, of the trials' best epochs.
        num_left_out: trials with a value that cannot be members, since they break a constraint, or have no sound
            checkpoint any more, or no answers.
    """

    trials: list[PooledTrial]
    y: np.ndarray
    probabilities: np.ndarray
    num_left_out: int


def gather(sweeps: Sequence[RecordedSweep]) -> Pool:
    """The trials of `sweeps` that can be members. Raises InputError where the sweeps cannot be joined, or no trial can be one."""
    check_alike(sweeps)
    tasks = [recorded.sweep.task() for recorded in sweeps]
    y, _, ids = tasks[0].everyone("val")
    trials: list[PooledTrial] = []
    answers: list[np.ndarray] = []
    num_left_out = 0
    for recorded, task in zip(sweeps, tasks, strict=True):
        rows, order = _rows(task, ids, y), recorded.sweep.order
        for trial in recorded.ranked():
            try:
                checkpoint, predictions = recorded.best_checkpoint(trial), recorded.val_predictions(trial)
            except (InputError, RuntimeError) as damage:
                print(f"note: {recorded.sweep.name}:{trial.number} is left out: {damage}", file=sys.stderr)
                num_left_out += 1
                continue
            if checkpoint is None or predictions is None or not order.is_feasible(trial):
                num_left_out += 1
                continue
            if not np.array_equal(predictions[0], y[rows]):
                num_left_out += 1
                continue
            answer = np.full((len(y), len(task.classes)), np.nan, np.float32)
            answer[rows] = predictions[1]
            trials.append(PooledTrial(recorded, trial, checkpoint))
            answers.append(answer)
    if not trials:
        names = ", ".join(recorded.sweep.name for recorded in sweeps)
        raise InputError(
            f"no trial of {names} has both a checkpoint and answers on val: there is nothing to choose from"
        )
    probabilities = np.stack(answers)
    seen = np.isfinite(probabilities).all(axis=2).any(axis=0)
    return Pool(trials, y[seen], probabilities[:, seen], num_left_out)


def check_alike(sweeps: Sequence[RecordedSweep]) -> None:
    """InputError where sweeps are there twice, or learned or were judged on other faces or classes than the first."""
    first = sweeps[0].sweep
    names = [recorded.sweep.name for recorded in sweeps]
    if len({recorded.sweep.sweep_id for recorded in sweeps}) < len(sweeps):
        raise InputError(f"{', '.join(names)}: want each sweep once")
    for recorded in sweeps:
        if recorded.sweep.asked.task.fold == "all":
            raise InputError(
                f"{recorded.sweep.name!r} has task.fold: all, so each of its trials is an ensemble of one net a fold already: "
                "promote it as it is"
            )
    wanted = _what(sweeps[0])
    for recorded in sweeps[1:]:
        for key, value in _what(recorded).items():
            if value != wanted[key]:
                raise InputError(
                    f"{recorded.sweep.name!r} has other {key} than {first.name!r} ({value}, not {wanted[key]}): the members "
                    "of an ensemble must answer the same classes and be judged on the same faces"
                )


def _what(recorded: RecordedSweep) -> dict[str, Any]:
    """What must be the same of sweeps that are joined."""
    sweep, task = recorded.sweep, recorded.sweep.asked.task
    groups = task.classes or {name: [name] for name in sweep.classes}
    return {
        "data": sweep.dataset.fingerprint[:12],
        "classes": ", ".join(sweep.classes),
        "labels of its classes": "; ".join(f"{name}: {', '.join(sorted(groups[name]))}" for name in sweep.classes),
        "val": "the whole" if task.fold is None else f"fold {task.fold}",
        "sources": ", ".join(task.sources or ["all"]),
    }


def _rows(task: Task, ids: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rows of the faces `ids` (M,) of classes y (M,) that the task's models see, in the order of `task.load("val")`."""
    own_y, detected, own_ids = task.everyone("val")
    rows = np.arange(len(ids))
    if not np.array_equal(own_ids, ids):  # the same dataset, written in another order
        wanted, given = (np.char.add(names, classes.astype(str)) for names, classes in ((ids, y), (own_ids, own_y)))
        rows = np.empty(len(given), int)
        order, own_order = np.argsort(wanted, kind="stable"), np.argsort(given, kind="stable")
        if len(order) != len(own_order) or not np.array_equal(wanted[order], given[own_order]):
            raise InputError(f"{task.place}: its val has other faces than that of the first sweep's dataset")
        rows[own_order] = order
    return rows if task.spec.features == "pixels" else rows[detected]
