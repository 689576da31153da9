"""The protocol that every trainable fulfils. It knows no Ray and no MLflow, so plain pytest can test a trainable.

A trainable's module offers

    Hparams                              a pydantic model that refuses unknown or impossible values
    build(hparams, arrays, seed)         a fresh Trainable
    restore(directory)                   a Trainable that can predict, from a checkpoint alone
    FRAMEWORK                            "tensorflow", "torch" or "numpy": what a worker process has to load
    FEATURES                             those task.features that it can learn from, a tuple; None: any

and may offer

    fetch(hparams)                       get what trials with these hparams (a list of dicts) need from outside, such as
                                         pretrained weights: called once, before a sweep starts. Raises InputError
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from data_pipeline.task import TaskArrays
from trainables.metrics import SCORES, confusion, scores

METRICS = ("train_loss", "val_loss", *(f"val_{name}" for name in SCORES), "epoch_s")


class TrialFailed(RuntimeError):
    """A trial that cannot go on for a reason of its own: a loss that is not finite, or no memory for its model."""


class HparamsModel(BaseModel):
    """Base of every trainable's hparams: unknown names are refused, values are what their field says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    early_stopping_patience: int | None = None


class Trainable(Protocol):
    """One model in training.

    Attributes:
        epoch: number of epochs trained so far.
        val_probabilities: (num_val, num_classes) float32 of the last epoch trained.
    """

    epoch: int
    val_probabilities: np.ndarray

    def fit(self, num_epochs: int) -> list[dict[str, float]]:
        """Train further; one dict of metrics an epoch: `epoch` and METRICS. Raises TrialFailed."""
        ...

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, …) inputs as the task gives them → (N, num_classes) float32 probabilities."""
        ...

    def save(self, directory: Path) -> None:
        """Write everything that `load` needs to go on as if nothing had happened: weights, optimizer, epoch, rng."""
        ...

    def load(self, directory: Path) -> None:
        """Take over the state in `directory`, written by a trainable with the same hparams."""
        ...


def val_metrics(probabilities: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Loss and scores on val: probabilities (N, C), y (N,) class indices. `val_loss` is the mean cross-entropy in nats."""
    picked = probabilities[np.arange(len(y)), y]
    found = scores(confusion(y, probabilities.argmax(axis=1), probabilities.shape[1]))
    return {
        "val_loss": float(-np.log(np.maximum(picked, 1e-12)).mean()),
        **{f"val_{name}": float(found[name]) for name in SCORES},
    }


def check_finite(metrics: dict[str, float]) -> None:
    """Raise TrialFailed naming the metric if one is NaN or infinite."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise TrialFailed(f"{name} is {value} at epoch {metrics['epoch']:.0f}")


def describe_model(name: str, hparams: BaseModel, arrays: TaskArrays, seed: int) -> dict[str, Any]:
    """What a checkpoint says of its model beside its weights: enough to build it again and to feed it."""
    return {
        "trainable": name,
        "hparams": hparams.model_dump(),
        "classes": arrays.classes,
        "groups": arrays.groups,
        "feature_names": arrays.feature_names,
        "preprocessing": arrays.preprocessing,
        "fingerprint": arrays.fingerprint,
        "seed": seed,
    }


def write_checkpoint(directory: Path, model: dict[str, Any], state: dict[str, np.ndarray]) -> None:
    """Write `model.json` and `state.npz` into `directory` (made if need be); nothing in them is pickled."""
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / "state.npz", **state)  # type: ignore[arg-type]
    (directory / "model.json").write_text(json.dumps(model, indent=1))


def num_threads() -> int:
    """CPU threads of a trial: OMP_NUM_THREADS, which Ray sets, or all of the machine's."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def read_model(directory: Path) -> dict[str, Any]:
    """The `model.json` of a checkpoint directory."""
    return json.loads((directory / "model.json").read_text())


def read_checkpoint(directory: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The `model.json` and the arrays of a checkpoint directory."""
    with np.load(directory / "state.npz", allow_pickle=False) as archive:
        state = {name: archive[name] for name in archive.files}
    return read_model(directory), state
