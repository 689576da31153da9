"""The protocol of populations: models of one trainable that train at once, each still a model of its own.

A trainable's module that offers populations has beside `build` (protocol.py)

    build_fused(points, arrays)          a Population of models with these points: a sequence of (hparams, seed)
    member_bytes(hparams, arrays)        memory that a model with these hparams takes in a population, in bytes, about
    FUSED_FRAMEWORK                      what a worker process has to load for them, as FRAMEWORK
    MOST_FUSED                           {"cpu": 32, "gpu": 256}: up to how many members a population gains speed, of a worker without
                                         and with a GPU; a device that is missing: a population does not pay there

A member's numbers do not depend on who else is in its population: its draws come from its own seed and epoch. They are
those of the same member alone, up to rounding. Its checkpoint is the same as that of the trainable's `build`: each loads
what the other saved.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fersweep.trainables.metrics import SCORES, EpochMetrics, confusion, scores
from fersweep.trainables.protocol import TrialFailed

Points = Sequence[tuple[dict[str, Any], int]]
"""(hparams, seed) of models."""


class Saved(Protocol):
    """The state of a member at some epoch, in memory."""

    def save(self, directory: Path) -> None: ...


class Member(Protocol):
    """One model of a population: a Trainable (protocol.py) that its population trains.

    Attributes:
        epoch: number of epochs trained so far.
        val_probabilities: (num_val, num_classes) float32 of the last epoch trained.
    """

    epoch: int
    val_probabilities: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray: ...

    def num_weights(self) -> int: ...

    def save(self, directory: Path) -> None: ...

    def load(self, directory: Path) -> None: ...

    def snapshot(self) -> Saved:
        """What `save` would write now; the member trains on without changing it."""
        ...


class Population(Protocol):
    """Models that train at once.

    Attributes:
        members: those that it has, in the order in which they came.
    """

    members: list[Any]

    def add(self, hparams: dict[str, Any], seed: int) -> Member:
        """A new member; it trains from the next epoch on. Raises ValueError for hparams that are none."""
        ...

    def remove(self, members: Collection[Member]) -> None:
        """Members that train no further; they can still be saved, and predict."""
        ...

    def fit(self) -> list[EpochMetrics | TrialFailed]:
        """Train every member one epoch → its metrics, in the order of `members`; TrialFailed of one that cannot go on.

        `epoch_s` is a member's part of the seconds that the epoch took: they add up to all of them.
        """
        ...


def val_metrics_of_members(probabilities: np.ndarray, y: np.ndarray) -> list[EpochMetrics]:
    """`val_metrics` (protocol.py) of each of K members: probabilities (K, N, C), y (N,) class indices."""
    num_faces, num_classes = probabilities.shape[1:]
    picked = np.maximum(probabilities[:, np.arange(num_faces), y], 1e-12)
    confusions = np.stack([confusion(y, answers.argmax(axis=1), num_classes) for answers in probabilities])
    of_members = scores(confusions)
    losses = -np.log(picked).mean(axis=1)
    return [
        {"val_loss": float(loss), **{f"val_{name}": float(of_members[name][member]) for name in SCORES}}
        for member, loss in enumerate(losses)
    ]
