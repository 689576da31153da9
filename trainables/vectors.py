"""Features as a net sees them: scores and coordinates, transformed and standardised by train's statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fersweep.data_pipeline.tasks.features import is_score

LOGIT_CLIP = (1e-6, 1 - 1e-6)  # of scores, before their logits are taken


def transformed(x: np.ndarray, transform: str, scored: np.ndarray) -> np.ndarray:
    """(N, F) → (N, F) float32, of which those columns that are `scored` (F,) bool are transformed: scores in [0, 1].
    Scores are clipped at one in a million, below which they are noise.

    Scores are skewed towards 0, and two expressions often differ in whether a score is 0.001 or 0.01: trees see that, a
    network that reads raw scores does not (docs/explanation/measurements.md).
    """
    x = np.asarray(x, np.float32)
    if transform == "none":
        return x
    clipped = np.clip(x, *LOGIT_CLIP)
    return np.where(scored, np.log(clipped / (1 - clipped)), x)


def train_statistics(x: np.ndarray, names: Sequence[str], transform: str) -> dict[str, np.ndarray]:
    """`mean` and `std` (F,) float32 of train's transformed features."""
    x = transformed(x, transform, is_score(names))
    return {"mean": x.mean(axis=0), "std": np.maximum(x.std(axis=0), 1e-6)}


class Preparation:
    """Features (N, F) as the task gives them → what the net sees, (N, F) float32: (transformed x - shift) / scale.

    Attributes:
        scored: (F,) bool, the features that are scores; the others are coordinates of landmarks.
        shift, scale: (F,) float32. Scores are standardised if asked, coordinates always: they differ by hundredths of what
            they are.
    """

    def __init__(self, names: Sequence[str], statistics: Mapping[str, np.ndarray], transform: str, standardise: bool):
        self.transform, self.scored = transform, is_score(names)
        standardised = ~self.scored | standardise
        self.shift = np.where(standardised, statistics["mean"], np.float32(0))
        self.scale = np.where(standardised, statistics["std"], np.float32(1))

    @property
    def standardises(self) -> bool:
        return bool((self.shift != 0).any() or (self.scale != 1).any())

    @property
    def takes_logits(self) -> bool:
        return self.transform == "logit" and bool(self.scored.any())

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (transformed(x, self.transform, self.scored) - self.shift) / self.scale
