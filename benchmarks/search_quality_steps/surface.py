"""A closed-form search problem with what makes real ones hard: a trainable and its space in one module.

Six parameters, a categorical among them that moves the best learning rate. A trial's curve is

    score(epoch) = top · (1 - exp(-rate · epoch)) + 0.004 · u(seed, epoch),    u uniform in [-1, 1]

where a large learning rate is fast and ends lower: curves cross, so that who leads early need not win. It learns nothing.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from pydantic import Field

from fersweep.trainables.protocol import HparamsModel

FRAMEWORK = "numpy"
FEATURES = None
POINTS: dict[str, dict[str, Any]] = {}
NOISE = 0.004
BEST_LOG_RATE = {"adam": -3.0, "sgd": -1.6, "rmsprop": -3.4}  # log10 of the best learning rate
LOSS_OF = {"adam": 0.0, "sgd": 0.01, "rmsprop": 0.015}


class Hparams(HparamsModel):
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    units: int = Field(ge=1)
    num_layers: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    optimizer: Literal["adam", "sgd", "rmsprop"]


def space(trial: Any) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1.0, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
        "units": trial.suggest_int("units", 16, 512, log=True),
        "num_layers": trial.suggest_int("num_layers", 1, 6),
        "dropout": trial.suggest_float("dropout", 0.0, 0.8),
        "optimizer": trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"]),
    }


def true_score(hparams: dict[str, Any], epoch: int) -> float:
    """Without noise."""
    log_rate = math.log10(hparams["learning_rate"])
    off = log_rate - BEST_LOG_RATE[hparams["optimizer"]]
    capacity = math.log2(hparams["units"]) * math.sqrt(hparams["num_layers"])
    wanted = 0.1 + 0.05 * max(capacity - 8, 0)  # a larger net wants more dropout
    top = (
        0.75
        - 0.03 * off**2
        - LOSS_OF[hparams["optimizer"]]
        - 0.004 * (capacity - 13) ** 2
        - 0.15 * (hparams["dropout"] - wanted) ** 2
        - 0.006 * (math.log10(hparams["weight_decay"]) + 3) ** 2
    )
    rate = min(0.7 * 2 ** (0.5 * off), 3.0)
    return min(max(top, 0.2), 1.0) * (1 - math.exp(-rate * epoch))


def score(hparams: dict[str, Any], seed: int, epoch: int) -> float:
    """As a trial reports it."""
    return true_score(hparams, epoch) + NOISE * float(np.random.default_rng([seed, epoch]).uniform(-1, 1))


def build(hparams: dict[str, Any], arrays: Any, seed: int) -> Any:
    raise NotImplementedError("surface.py is searched in simulated time alone")


restore = build
