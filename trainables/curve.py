"""A closed-form learning curve with the protocol of a trainable: cheap and exact, for testing schedulers, resume and
scale. It learns nothing and is no model: its scores are a formula of its hparams.

    score(epoch) = top * (1 - exp(-rate * epoch)) + noise * u(seed, epoch),    u uniform in [-1, 1]
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.metrics import SCORES, EpochMetrics
from fersweep.trainables.population import Member, Points
from fersweep.trainables.protocol import HparamsModel, TrialFailed, check_finite
from fersweep.trainables.saved_model import describe_model, read_checkpoint, write_checkpoint

FRAMEWORK = "numpy"
FEATURES = None
PERTURBABLE = frozenset(("top", "rate", "noise"))
FUSED_FRAMEWORK, MOST_FUSED = "numpy", dict[str, int]()


class Hparams(HparamsModel):
    """top: score at infinity; rate: per epoch; noise: half-width; epoch_s: seconds."""

    top: float = Field(0.8, ge=0, le=1)
    rate: float = Field(0.1, gt=0)
    noise: float = Field(0.0, ge=0)
    epoch_s: float = Field(0.0, ge=0)


class Curve:
    """Predicts the class with the nearest mean input of train, so that there is something to evaluate."""

    def __init__(self, hparams: Hparams, means: np.ndarray, model: dict[str, Any]):
        self.hparams, self.means, self.model = hparams, means, model
        self.epoch = 0
        self.val_probabilities = np.zeros((0, len(means)), np.float32)

    def fit(self, num_epochs: int) -> list[EpochMetrics]:
        rows: list[EpochMetrics] = []
        for _ in range(num_epochs):
            time.sleep(self.hparams.epoch_s)
            rows.append(self.next_epoch())
        return rows

    def next_epoch(self) -> EpochMetrics:
        """The next epoch's metrics, at once. Raises TrialFailed."""
        self.epoch += 1
        metrics = self._metrics()
        check_finite(metrics)
        return metrics

    def _metrics(self) -> EpochMetrics:
        h = self.hparams
        noise = np.random.default_rng([self.model["seed"], self.epoch]).uniform(-1, 1)
        score = h.top * (1 - math.exp(-h.rate * self.epoch)) + h.noise * noise
        score = min(max(score, 0.0), 1.0)
        return {
            "epoch": self.epoch,
            "train_loss": 1 - score,
            "val_loss": 1 - score,
            **{f"val_{name}": score for name in SCORES},
            "epoch_s": h.epoch_s,
        }

    def predict(self, x: np.ndarray) -> np.ndarray:
        flat = x.reshape(len(x), -1).astype(np.float32)
        distance = ((flat[:, None, :] - self.means[None]) ** 2).sum(axis=2)
        weights = np.exp(-(distance - distance.min(axis=1, keepdims=True)))
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    def num_weights(self) -> int:
        return self.means.size

    def save(self, directory: Path) -> None:
        write_checkpoint(directory, {**self.model, "epoch": self.epoch}, {"means": self.means})

    def snapshot(self) -> Curve:
        return copy.copy(self)

    def load(self, directory: Path) -> None:
        self.epoch = read_checkpoint(directory)[0]["epoch"]


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> Curve:
    return build_as(Curve, "curve", Hparams(**hparams), arrays, seed)


class Curves:
    """Curves that are trained at once: an epoch takes as long as the slowest one's. `build`: one of them. See population.py."""

    def __init__(self, points: Points, arrays: TaskArrays, build: Callable[..., Curve]):
        self._build, self._arrays, self.members = build, arrays, list[Curve]()
        for hparams, seed in points:
            self.add(hparams, seed)

    def add(self, hparams: dict[str, Any], seed: int) -> Curve:
        self.members.append(self._build(hparams, self._arrays, seed))
        return self.members[-1]

    def remove(self, members: Collection[Member]) -> None:
        self.members = [curve for curve in self.members if curve not in members]

    def fit(self) -> list[EpochMetrics | TrialFailed]:
        time.sleep(max((curve.hparams.epoch_s for curve in self.members), default=0.0))
        return [self._trained(curve) for curve in self.members]

    def _trained(self, curve: Curve) -> EpochMetrics | TrialFailed:
        try:
            row = curve.next_epoch()
        except TrialFailed as failure:
            return failure
        return {**row, "epoch_s": row["epoch_s"] / len(self.members)}


def build_fused(points: Points, arrays: TaskArrays) -> Curves:
    return Curves(points, arrays, build)


def member_bytes(hparams: dict[str, Any], arrays: TaskArrays) -> int:
    return arrays.val.x.nbytes // max(arrays.val.x[0].size, 1) * len(arrays.classes)


def restore(directory: Path) -> Curve:
    return restore_as(Curve, Hparams, directory)


C = TypeVar("C", bound=Curve)


def build_as(kind: type[C], name: str, hparams: Hparams, arrays: TaskArrays, seed: int) -> C:
    """A fresh `kind` of curve; `name`: of its trainable."""
    x, y = arrays.train.x.reshape(len(arrays.train.x), -1), arrays.train.y
    means = np.stack([x[y == c].mean(axis=0) if (y == c).any() else x.mean(axis=0) for c in range(len(arrays.classes))])
    curve = kind(hparams, means.astype(np.float32), describe_model(name, hparams, arrays, seed))
    curve.val_probabilities = curve.predict(arrays.val.x)
    return curve


def restore_as(kind: type[C], hparams: type[Hparams], directory: Path) -> C:
    """A `kind` of curve from its checkpoint."""
    model, state = read_checkpoint(directory)
    curve = kind(hparams(**model["hparams"]), state["means"], model)
    curve.epoch = model["epoch"]
    return curve
