"""Is one model better than another, on the same faces? Paired bootstrap and McNemar's test.

    paired(y, probabilities_a, probabilities_b, num_classes)["macro_f1"]   # {difference, low, high, p}, a minus b

Both look at the faces that the two models answer differently; what they agree on says nothing. Shapes: N faces,
C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fersweep.trainables.metrics import SCORES, scores

RESAMPLES = 2000
BATCH = 250  # resamples that are drawn at once


def paired(
    y: np.ndarray, a: np.ndarray, b: np.ndarray, num_classes: int, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """What a scores more than b on the same faces.

    Args:
        y: (N,) class indices.
        a, b: (N, C) probabilities or (N,) predicted class indices; -1 stands for no answer, which is wrong.

    Returns:
        `n`; each of SCORES as {difference (a minus b), low, high, p}: 95 % percentile interval and two-sided p of a
        paired bootstrap over faces, twice the share of resamples on the other side of 0, at least 1 / `resamples`
        (Efron & Tibshirani 1993, ch. 13 and 15); `mcnemar`: {only_a, only_b, p}: faces that one alone is right about,
        and the exact two-sided binomial test of them (McNemar 1947). Raises ValueError if the lengths differ.
    """
    predicted_a, predicted_b = _predicted(a), _predicted(b)
    if not len(y) == len(predicted_a) == len(predicted_b):
        raise ValueError(f"y, a and b must be of the same faces, but got {len(y)}, {len(a)} and {len(b)}")
    joint = _joint(y, predicted_a, predicted_b, num_classes)
    point = _difference(joint)
    cells, rng = joint.ravel(), np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    for start in range(0, resamples, BATCH):
        some = rng.multinomial(len(y), cells / len(y), size=min(BATCH, resamples - start))
        for name, values in _difference(some.reshape(-1, *joint.shape)).items():
            drawn[name].append(values)
    found: dict[str, Any] = {"n": len(y)}
    for name in SCORES:
        values = np.concatenate(drawn[name])
        low, high = np.percentile(values, [2.5, 97.5])
        tail = min((values <= 0).mean(), (values >= 0).mean())
        found[name] = {
            "difference": float(point[name]),
            "low": float(low),
            "high": float(high),
            "p": float(np.clip(2 * tail, 1 / resamples, 1)),
        }
    right_a, right_b = predicted_a == y, predicted_b == y
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return {**found, "mcnemar": {"only_a": only_a, "only_b": only_b, "p": mcnemar(only_a, only_b)}}


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test: of the faces that one alone is right about, each is as likely either's."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for being several (Holm 1979), in the order given."""
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(np.argsort(values)):
        highest = max(highest, min(1.0, (len(values) - rank) * float(values[index])))
        corrected[int(index)] = highest
    return corrected


def _predicted(answers: np.ndarray) -> np.ndarray:
    answers = np.asarray(answers)
    return answers.argmax(axis=1) if answers.ndim == 2 else answers


def _joint(y: np.ndarray, a: np.ndarray, b: np.ndarray, num_classes: int) -> np.ndarray:
    """(C, C + 1, C + 1) counts of faces by class and by what a and b answer; the last of each: no answer.

    A resample of faces is a multinomial draw of these cells (see scoring.resample).
    """
    side = num_classes + 1
    index = (y.astype(np.int64) * side + a % side) * side + b % side  # -1 % side is the last
    return np.bincount(index, minlength=num_classes * side * side).reshape(num_classes, side, side)


def _difference(joint: np.ndarray) -> dict[str, np.ndarray]:
    """SCORES of a minus those of b, of (..., C, C + 1, C + 1) counts."""
    of_a, of_b = scores(joint.sum(axis=-1)), scores(joint.sum(axis=-2))
    return {name: of_a[name] - of_b[name] for name in SCORES}
