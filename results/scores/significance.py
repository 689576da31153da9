"""Is one model better than another, on the same faces? Paired bootstrap and McNemar's test.

    paired(y, probabilities_a, probabilities_b, num_classes).macro_f1   # difference, low, high, p: a minus b

Both look at the faces that the two models answer differently; what they agree on says nothing. Shapes: N faces,
C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fersweep.trainables.metrics import SCORES, scores

RESAMPLES = 2000
BATCH = 250  # resamples that are drawn at once


@dataclass(frozen=True)
class ScoreDifference:
    """A score of a minus that of b: 95 % percentile interval and two-sided p of a paired bootstrap over faces."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemar:
    """Faces that one model alone is right about, and the exact two-sided binomial test of them (McNemar 1947)."""

    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True)
class PairedTest:
    """What a scores more than b on the same `n` faces."""

    n: int
    accuracy: ScoreDifference
    balanced_accuracy: ScoreDifference
    macro_f1: ScoreDifference
    mcnemar: McNemar

    def score(self, name: str) -> ScoreDifference:
        """The difference in one of SCORES."""
        return getattr(self, name)


def paired(
    y: np.ndarray, a: np.ndarray, b: np.ndarray, num_classes: int, resamples: int = RESAMPLES, seed: int = 0
) -> PairedTest:
    """What a scores more than b on the same faces.

    p is twice the share of resamples on the other side of 0, at least 1 / `resamples` (Efron & Tibshirani 1993, ch. 13
    and 15).

    Args:
        y: (N,) class indices.
        a, b: (N, C) probabilities or (N,) predicted class indices; -1 is no answer, which counts as wrong.

    Raises:
        ValueError: the lengths differ.
    """
    predicted_a, predicted_b = _predicted(a), _predicted(b)
    if not len(y) == len(predicted_a) == len(predicted_b):
        raise ValueError(f"y, a and b must be of the same faces, but got {len(y)}, {len(a)} and {len(b)}")
    joint = _joint(y, predicted_a, predicted_b, num_classes)
    point = _difference(joint)
    cells, rng = joint.ravel(), np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    for start in range(0, resamples, BATCH):
        batch = rng.multinomial(len(y), cells / len(y), size=min(BATCH, resamples - start))
        for name, values in _difference(batch.reshape(-1, *joint.shape)).items():
            drawn[name].append(values)
    differences = {name: _score_difference(float(point[name]), np.concatenate(drawn[name])) for name in SCORES}
    right_a, right_b = predicted_a == y, predicted_b == y
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return PairedTest(n=len(y), **differences, mcnemar=McNemar(only_a, only_b, mcnemar(only_a, only_b)))


def _score_difference(point: float, drawn: np.ndarray) -> ScoreDifference:
    """Of the difference that was measured, and those of the resamples, (resamples,)."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    tail = min((drawn <= 0).mean(), (drawn >= 0).mean())
    return ScoreDifference(point, float(low), float(high), p=float(np.clip(2 * tail, 1 / len(drawn), 1)))


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test: of the faces that one alone is right about, each is as likely either's."""
    from scipy.stats import binomtest  # pyright: ignore[reportUnknownVariableType]

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for multiple comparisons (Holm 1979), in the same order."""
    corrected, highest = [0.0] * len(values), 0.0
    order: list[int] = np.argsort(values).tolist()
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * float(values[index])))
        corrected[index] = highest
    return corrected


def _predicted(answers: np.ndarray) -> np.ndarray:
    answers = np.asarray(answers)
    return answers.argmax(axis=1) if answers.ndim == 2 else answers


def _joint(y: np.ndarray, a: np.ndarray, b: np.ndarray, num_classes: int) -> np.ndarray:
    """(C, C + 1, C + 1) counts of faces by class and by what a and b answer; the last of each: no answer.

    A resample of faces is a multinomial draw of these cells (see intervals.resample).
    """
    side = num_classes + 1
    index = (y.astype(np.int64) * side + a % side) * side + b % side  # -1 % side is the last
    return np.bincount(index, minlength=num_classes * side * side).reshape(num_classes, side, side)


def _difference(joint: np.ndarray) -> dict[str, np.ndarray]:
    """SCORES of a minus those of b, of (..., C, C + 1, C + 1) counts."""
    of_a, of_b = scores(joint.sum(axis=-1)), scores(joint.sum(axis=-2))
    return {name: of_a[name] - of_b[name] for name in SCORES}


def spent(p: float, nth: int) -> float:
    return min(1.0, p * nth * (nth + 1) / 2)
