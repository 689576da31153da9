"""A closed-form search problem that is wide and has conditions: a trainable and its space in one module.

9 to 20 parameters, of which seven are in every trial: a net of one to five layers, each with its own width and dropout; an
optimizer, and a schedule, each with parameters of its own. The best learning rate depends on the optimizer, its momentum and the
net's size; later layers want to be narrower. A trial's curve is that of surface.py, with noise of 0.006. It learns nothing.
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
NOISE = 0.006
BEST_LOG_RATE = {"adam": -3.0, "sgd": -1.2, "lion": -4.0}  # log10 of the best learning rate, of a small net
LOSS_OF = {"adam": 0.0, "sgd": 0.004, "lion": 0.008}
LOSS_OF_SCHEDULE = {"constant": 0.012, "cosine": 0.0, "step": 0.004}


class Hparams(HparamsModel):
    units: list[int]
    dropout: list[float]
    learning_rate: float = Field(gt=0)
    optimizer: Literal["adam", "sgd", "lion"]
    momentum: float | None = None
    beta: float | None = None
    schedule: Literal["constant", "cosine", "step"]
    step_factor: float | None = None
    step_every: int | None = None
    weight_decay: float | None = None
    smoothing: float = Field(ge=0, lt=1)
    batch_size: int = Field(ge=1)


def space(trial: Any) -> dict[str, Any]:
    layers = range(trial.suggest_int("num_layers", 1, 5))
    optimizer = trial.suggest_categorical("optimizer", list(BEST_LOG_RATE))
    schedule = trial.suggest_categorical("schedule", list(LOSS_OF_SCHEDULE))
    hparams: dict[str, Any] = {
        "units": [trial.suggest_int(f"units_{layer}", 16, 512, log=True) for layer in layers],
        "dropout": [trial.suggest_float(f"dropout_{layer}", 0.0, 0.7) for layer in layers],
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1.0, log=True),
        "optimizer": optimizer,
        "schedule": schedule,
        "smoothing": trial.suggest_float("smoothing", 0.0, 0.4),
        "batch_size": trial.suggest_int("batch_size", 16, 512, log=True),
    }
    if optimizer == "sgd":
        hparams["momentum"] = trial.suggest_float("momentum", 0.0, 0.98)
    if optimizer == "adam":
        hparams["beta"] = trial.suggest_float("beta", 0.8, 0.99)
    if schedule == "step":
        hparams["step_factor"] = trial.suggest_float("step_factor", 0.1, 0.9)
        hparams["step_every"] = trial.suggest_int("step_every", 1, 12)
    if trial.suggest_categorical("use_weight_decay", [True, False]):
        hparams["weight_decay"] = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
    return hparams


def true_score(hparams: dict[str, Any], epoch: int) -> float:
    """Without noise."""
    units, dropout = np.log2(hparams["units"]), np.asarray(hparams["dropout"])
    wanted_units = 8.0 - 0.7 * np.arange(len(units))
    wanted_dropout = 0.1 + 0.06 * np.maximum(units - 6, 0)
    rate = math.log10(hparams["learning_rate"]) - math.log10(1 - (hparams.get("momentum") or 0.0))
    off = (
        rate
        - BEST_LOG_RATE[hparams["optimizer"]]
        + 0.12 * (len(units) - 1)
        - 0.3 * math.log10(hparams["batch_size"] / 64)
    )
    decay = hparams.get("weight_decay")
    top = (
        0.75
        - 0.025 * off**2
        - LOSS_OF[hparams["optimizer"]]
        - LOSS_OF_SCHEDULE[hparams["schedule"]]
        - 0.004 * (len(units) - 3) ** 2
        - 0.004 * float(((units - wanted_units) ** 2).mean())
        - 0.2 * float(((dropout - wanted_dropout) ** 2).mean())
        - (0.012 if decay is None else 0.005 * (math.log10(decay) + 3.5) ** 2)
        - 0.3 * (hparams["smoothing"] - 0.1) ** 2
        - 0.4 * ((hparams.get("beta") or 0.9) - 0.9) ** 2
        - 0.02 * ((hparams.get("step_factor") or 0.5) - 0.5) ** 2
        - 0.0003 * ((hparams.get("step_every") or 6) - 6) ** 2
    )
    speed = min(0.6 * 2 ** (0.5 * off), 3.0)
    return min(max(top, 0.2), 1.0) * (1 - math.exp(-speed * epoch))


def score(hparams: dict[str, Any], seed: int, epoch: int) -> float:
    """As a trial reports it."""
    return true_score(hparams, epoch) + NOISE * float(np.random.default_rng([seed, epoch]).uniform(-1, 1))


def build(hparams: dict[str, Any], arrays: Any, seed: int) -> Any:
    raise NotImplementedError("wide.py is searched in simulated time alone")


restore = build
