"""One model a fold, trained side by side: what a trial of `task.fold: all` is.

    model = fersweep.trainables.build(name, hparams, arrays, seed)      # arrays with folds: a Folded

The model of fold k learns the other folds, with the seed, the features and the statistics of a trial of `task.fold: k`, and
reports what that trial would. A row of metrics has their means; beside them is each fold's own value of LOSS and SCORES on
val (metrics.fold_metric). The answers on val are each by the model that did not learn the face. Its checkpoint is an
ensemble's (ensemble.py): afterwards, the model is the mean of all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.metrics import FOLD_METRICS, EpochMetrics, fold_metric
from fersweep.trainables.protocol import Trainable, TrialFailed
from fersweep.trainables.saved_model import read_model

OF_MEMBER = ("trainable", "hparams", "feature_names")  # what the model.json of all says of each


class Folded:
    """A Trainable of one member a fold; `arrays`: with folds."""

    def __init__(self, members: Sequence[Trainable], arrays: TaskArrays):
        self.members, self._arrays = members, arrays
        self.epoch = 0
        self.val_probabilities = np.zeros((0, len(arrays.classes)), np.float32)

    def fit(self, num_epochs: int) -> list[EpochMetrics]:
        """Train each member further, an epoch at a time. `epoch_s` is the time of all of them."""
        return [self._fit_one() for _ in range(num_epochs)]

    def _fit_one(self) -> EpochMetrics:
        rows: list[EpochMetrics] = []
        answers = np.empty((len(self._arrays.val.y), len(self._arrays.classes)), np.float32)
        for number, (member, fold) in enumerate(zip(self.members, self._arrays.folds, strict=True)):
            try:
                rows += member.fit(1)
            except TrialFailed as failure:
                raise TrialFailed(f"fold {number}: {failure}") from failure
            answers[fold.val] = member.val_probabilities
        self.epoch += 1
        self.val_probabilities = answers
        names = [name for name in rows[0] if name not in ("epoch", "epoch_s")]
        means = {name: float(np.mean([row[name] for row in rows])) for name in names}
        each = {fold_metric(name, k): row[name] for name in FOLD_METRICS for k, row in enumerate(rows)}
        return {"epoch": self.epoch, **means, "epoch_s": sum(row["epoch_s"] for row in rows), **each}

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The mean of all members' answers, as the ensemble in the checkpoint gives it."""
        total = np.zeros((len(x), len(self._arrays.classes)))
        for member, fold in zip(self.members, self._arrays.folds, strict=True):
            total += member.predict(x if x.ndim > 2 else np.take(x, fold.columns, axis=1))
        return (total / len(self.members)).astype(np.float32)

    def num_weights(self) -> int:
        members: Sequence[Any] = self.members
        return sum(member.num_weights() for member in members)

    def save(self, directory: Path) -> None:
        for number, member in enumerate(self.members):
            member.save(_of_member(directory, number))
        models = [read_model(_of_member(directory, number)) for number in range(len(self.members))]
        content = {
            **models[0],
            "feature_names": self._arrays.feature_names,
            "learned": self._arrays.learned,
            "ensemble": len(models),
            "members": [{**{name: model[name] for name in OF_MEMBER}, "weight": 1.0} for model in models],
            "folds": len(models),
        }
        (directory / "model.json").write_text(json.dumps(content, indent=1))

    def load(self, directory: Path) -> None:
        self.epoch = read_model(directory)["epoch"]
        for number, member in enumerate(self.members):
            member.load(_of_member(directory, number))


def _of_member(directory: Path, number: int) -> Path:
    """Its checkpoint, within that of all."""
    return directory / f"member-{number}"


def build(module: ModuleType, hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> Folded:
    """Fresh models of a trainable's `module`, one a fold of `arrays`, each with its fold's faces alone."""
    members = [module.build(hparams, arrays.of_fold(number), seed) for number in range(len(arrays.folds))]
    return Folded(members, arrays)
