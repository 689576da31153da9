"""Hparams that nets in Keras share."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from fersweep.trainables.protocol import HparamsModel

# No variable of net or optimizer depends on them, as long as none is 0 in one trial and not in another (protocol.py).
PERTURBABLE = frozenset(
    (
        "learning_rate",
        "beta_1",
        "clipnorm",
        "weight_decay",
        "ema_momentum",
        "l2",
        "dropout",
        "class_weights",
        "label_smoothing",
    )
)


class TrainingHparams(HparamsModel):
    """The knobs of the loop, whatever net it trains. Rates are per step, decays as Keras defines them."""

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    beta_1: float = Field(0.9, ge=0, lt=1, description="adam's first moment; sgd's and rmsprop's momentum")
    amsgrad: bool = False
    clipnorm: float | None = Field(None, gt=0, description="of each variable's gradient on its own")
    weight_decay: float = Field(0.0, ge=0)
    ema_momentum: float | None = Field(None, ge=0, lt=1, description="averaged weights are what is evaluated and saved")
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    schedule_epochs: int = Field(100, ge=1, description="epochs until cosine reaches 0, exponential 1 %")
    batch_size: int = Field(150, ge=1)
    class_weights: float = Field(0.0, ge=0, le=1, description="exponent of n / (C * n_c): 0 none, 1 balanced")
    label_smoothing: float = Field(0.0, ge=0, lt=1)

    def learning_rates(self, epoch: int, num_steps: int) -> np.ndarray:
        """(num_steps,) float32 of the epoch after `epoch` ones."""
        epochs: np.ndarray = epoch + np.arange(num_steps) / num_steps
        progress = np.minimum(epochs / self.schedule_epochs, 1.0)
        factor = {
            "constant": np.ones_like(progress),
            "cosine": 0.5 * (1 + np.cos(math.pi * progress)),
            "exponential": 0.01**progress,
        }[self.schedule]
        return (self.learning_rate * factor).astype(np.float32)


class VectorHparams(TrainingHparams):
    """Those of nets that see blendshapes, landmarks or both."""

    transform: Literal["none", "logit"] = Field("none", description="of the scores; logit opens up those near 0 and 1")
    standardise: bool = Field(False, description="of the scores, by train's, after the transform; landmarks always are")


class KerasHparams(VectorHparams):
    """Those of our nets: knobs that each architecture has."""

    l2: float = Field(0.0, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    initializer: Literal["glorot_uniform", "he_normal", "orthogonal", "uniform"] = "glorot_uniform"
    initializer_range: float = Field(0.05, gt=0, description="half-width of initializer: uniform")
