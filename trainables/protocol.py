"""The protocol of trainables. They know no Ray and no MLflow, so plain pytest can test them.

A trainable's module offers

    Hparams                              a pydantic model that refuses unknown or impossible values
    build(hparams, arrays, seed)         a fresh Trainable
    restore(directory)                   a Trainable that can predict, from a checkpoint alone
    FRAMEWORK                            "tensorflow", "torch" or "numpy": what a worker process has to load
    FEATURES                             the task.features that it can learn from, a tuple; None: any

and may offer

    fetch(hparams)                       get what trials with these hparams (a list of dicts) need from outside, such as
                                         pretrained weights: called once, before a sweep starts → what it got by name,
                                         with the sha256 of each. Raises InputError
    PERTURBABLE                          names of hparams that a checkpoint's net and optimizer do not depend on, a frozenset: `load`
                                         takes a checkpoint that was trained with other values of them, 0 and "off" apart
                                         (PBT: stop.scheduler_options.perturb)
    LEARNS_PROBABILITIES                 a mapping: it learns `train.votes` of arrays that are `taught` (batches.face_targets) where its hparams
                                         have these values; empty: always. Without it, it cannot (`distil` in a sweep file)
    expect(fetched)                      take nothing else than what `fetch` once gave, here and on any machine
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from fersweep.trainables.metrics import SCORES, EpochMetrics, confusion, scores

METRICS = ("train_loss", "val_loss", *(f"val_{name}" for name in SCORES), "epoch_s")


class TrialFailed(RuntimeError):
    """A trial that cannot continue because of its hparams: its loss is not finite, or its model does not fit in memory."""


class HparamsModel(BaseModel):
    """Base of every trainable's hparams: unknown names and impossible values are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    early_stopping_patience: int | None = None


class Trainable(Protocol):
    """One model in training. It may offer besides

        num_weights() -> int    how many numbers it answers with: those that it learned, and others such as running means
        undisturbed()           a context manager: in its block `predict` is as fast as that of a restored model

    Attributes:
        epoch: number of epochs trained so far.
        val_probabilities: (num_val, num_classes) float32 of the last epoch trained.
    """

    epoch: int
    val_probabilities: np.ndarray

    def fit(self, num_epochs: int) -> list[EpochMetrics]:
        """Train further; the metrics of each epoch. Raises TrialFailed."""
        ...

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, …) inputs as the task gives them → (N, num_classes) float32 probabilities."""
        ...

    def save(self, directory: Path) -> None:
        """Write everything that `load` needs to train on without a difference: weights, optimizer, epoch, rng."""
        ...

    def load(self, directory: Path) -> None:
        """Load the state in `directory`, written by a trainable with the same hparams, or others that are PERTURBABLE: it
        trains on with its own.
        """
        ...


def val_metrics(probabilities: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Loss and scores on val: probabilities (N, C), y (N,) class indices. `val_loss` is the mean cross-entropy in nats."""
    picked = probabilities[np.arange(len(y)), y]
    val_scores = scores(confusion(y, probabilities.argmax(axis=1), probabilities.shape[1]))
    return {
        "val_loss": float(-np.log(np.maximum(picked, 1e-12)).mean()),
        **{f"val_{name}": float(val_scores[name]) for name in SCORES},
    }


def check_finite(metrics: EpochMetrics) -> None:
    """Raise TrialFailed naming the metric if one is NaN or infinite."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise TrialFailed(f"{name} is {value} at epoch {metrics['epoch']:.0f}")
