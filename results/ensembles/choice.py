"""Choose the members of an ensemble among the trials of sweeps, on val, and write its checkpoint.

chosen = choose([load_sweep(directory), …], "greedy")
chosen.members[0].name, chosen.figures.value, chosen.identity
write(chosen, directory)
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep import trainables
from fersweep.common.display.tables import table
from fersweep.common.errors import InputError
from fersweep.common.files import lock, new_directory
from fersweep.data_pipeline.tasks.features import described
from fersweep.data_pipeline.tasks.mixed_task import task_of_features
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.ensembles import selection
from fersweep.results.ensembles.pool import PooledTrial, gather
from fersweep.results.models.learned import older_record
from fersweep.results.record.recorded_sweep import RecordedSweep
from fersweep.results.scores.figures import Joined, JoinedMember
from fersweep.trainables import ensemble
from fersweep.trainables.saved_model import read_model

if TYPE_CHECKING:
    from rich.console import RenderableType

HOW = ("greedy", "bagged")


@dataclass(frozen=True)
class Chosen:
    """Members of an ensemble, the heaviest first.

    Attributes:
        weights: how often each was chosen.
        model: the model.json of the ensemble.
        figures: who they are, and how well they do on val.
    """

    members: list[PooledTrial]
    weights: list[int]
    model: dict[str, Any]
    figures: Joined

    @property
    def lead(self) -> PooledTrial:
        """The heaviest member, under whose sweep and trial the ensemble is kept."""
        return self.members[0]

    @property
    def identity(self) -> str:
        """12 hex digits that another choice of checkpoints and weights does not have."""
        parts = sorted(
            f"{one.recorded.sweep.sweep_id} {one.trial.number} {one.checkpoint.name} {weight}"
            for one, weight in zip(self.members, self.weights, strict=True)
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    @property
    def checkpoint(self) -> Path:
        """Where its checkpoint is, once it was written."""
        return self.lead.recorded.directory.resolve() / "ensembles" / self.identity

    def task(self) -> Task:
        """What it sees of the faces of the lead's task."""
        task = self.lead.recorded.sweep.task()
        return task_of_features(task.place, task.spec, self.model["feature_names"])


def choose(sweeps: Sequence[RecordedSweep], how: str) -> Chosen:
    """The members that answer val best together, by the metric of the first sweep (`how`: one of HOW, see selection.py).

    Raises InputError where the sweeps cannot be joined, or nothing improves the best trial; RuntimeError for a damaged checkpoint.
    """
    pool, metric = gather(sweeps), sweeps[0].sweep.metric
    if metric in sweeps[0].sweep.own_metrics:  # which are not computed here
        metric = "val_macro_f1"
    name, bags = metric.removeprefix("val_"), selection.BAGS if how == "bagged" else 0
    counts = selection.greedy(pool.probabilities, pool.y, name, bags=bags)
    sign = -1.0 if name == "loss" else 1.0
    alone = [sign * selection.score(answers, pool.y, name) for answers in pool.probabilities]
    together = sign * selection.score(selection.mean(pool.probabilities, counts), pool.y, name)
    best = int(np.argmax(sign * np.array(alone)))
    if np.count_nonzero(counts) == 1:
        only = pool.trials[int(np.argmax(counts))]
        raise InputError(
            f"no other trial improves {only.name} on val ({metric} {together:.4f}): `fersweep promote "
            f"{only.recorded.sweep.name} --trial {only.trial.number}` promotes it alone"
        )
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda i: (-counts[i], -sign * alone[i], pool.trials[i].name))
    members, weights = [pool.trials[i] for i in order], [int(counts[i]) for i in order]
    models = [_described(member) for member in members]
    figures = Joined(
        how=how,
        metric=metric,
        num_trials=len(pool.trials),
        num_left_out=pool.num_left_out,
        num_faces=len(pool.y),
        best=pool.trials[best].name,
        best_value=alone[best],
        value=together,
        members=[
            JoinedMember(
                name=pool.trials[i].name,
                trainable=model["trainable"],
                sees=described(model["feature_names"]),
                weight=int(counts[i]),
                value=alone[i],
                num_faces=int(np.isfinite(pool.probabilities[i, :, 0]).sum()),
            )
            for i, model in zip(order, models, strict=True)
        ],
    )
    joined = ensemble.joined(models, [float(weight) for weight in weights], [member.name for member in members])
    return Chosen(members, weights, joined, figures)


def write(chosen: Chosen) -> Path:
    """The checkpoint of the ensemble, a copy of its members'; one that is there is taken. InputError where a member cannot be loaded."""
    directory = chosen.checkpoint
    directory.parent.mkdir(exist_ok=True)
    with lock(directory.parent / "ensembles.lock"):  # another promotion may write the same
        for unfinished in directory.parent.glob(f".{directory.name}-*"):  # of a promotion that was killed
            shutil.rmtree(unfinished)
        if not directory.is_dir():
            with new_directory(directory) as unfinished:
                ensemble.write(unfinished, [member.checkpoint for member in chosen.members], chosen.model)
                trainables.restore(unfinished)
    return directory


def _described(member: PooledTrial) -> dict[str, Any]:
    """The model.json of a member; what older checkpoints lack is its sweep's."""
    model, sweep = read_model(member.checkpoint), member.recorded.sweep
    groups = sweep.asked.task.classes or {name: [name] for name in sweep.classes}
    model["groups"] = model.get("groups") or groups
    model.setdefault("learned", older_record(model, sweep, refit=False))
    return model


def lines(figures: Joined) -> list[str]:
    """What was chosen and how far to trust it, for the terminal."""
    out = (
        f", {figures.num_left_out} left out, which have no checkpoint or break a constraint"
        if figures.num_left_out
        else ""
    )
    return [
        f"chosen among {figures.num_trials} trials{out}: "
        + ", ".join(f"{one.weight} × {one.name}" for one in figures.members),
        figures.sentence(),
    ]


def render(figures: Joined) -> RenderableType:
    """The members as a table for the terminal."""
    shown = table(["member", "trainable", "sees", "weight", figures.metric, "faces of val"], 3, "members")
    for one in figures.members:
        shown.add_row(one.name, one.trainable, one.sees, str(one.weight), f"{one.value:.4f}", str(one.num_faces))
    return shown
