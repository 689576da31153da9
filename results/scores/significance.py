"""Is one model better than another, on the same faces? A permutation test, with a paired bootstrap's interval.

    paired(y, probabilities_a, probabilities_b, num_classes).macro_f1   # difference, low, high, p: a minus b

Both look at the faces that the two models answer differently; what they agree on says nothing. Faces of one person, and
twins, are drawn and swapped as one where `clusters` says which they are. Shapes: N faces, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fersweep.results.scores import permutation
from fersweep.results.scores.resampling import RESAMPLES, are_faces, bounds, patterns
from fersweep.trainables.metrics import SCORES, scores

LEVEL = 0.05
BATCH = 250  # resamples of faces that are drawn at once
SERIES = 2.6123753486854883  # the sum of k ** -1.5


@dataclass(frozen=True)
class ScoreDifference:
    """A score of a minus that of b, the 95 % percentile interval of a paired bootstrap, and the two-sided p of a permutation
    test. Where p is LEVEL or more, the interval is drawn out to 0 if the bootstrap's leaves it out.
    """

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemar:
    """Faces that one model alone is right about, and the exact two-sided test of them (McNemar 1947): binomial, or of
    clusters of faces, each of which is as likely either's.
    """

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
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    num_classes: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: np.ndarray | None = None,
) -> PairedTest:
    """What a scores more than b on the same faces.

    p: how often the scores differ as much when the answers of a and b are swapped at random (permutation.py). Interval: of
    resampled faces or clusters (resampling.py; Efron & Tibshirani 1993, ch. 13).

    Args:
        y: (N,) class indices.
        a, b: (N, C) probabilities or (N,) predicted class indices; -1 is no answer, which counts as wrong.
        clusters: (N,) number of each face's cluster; None: each face is one.

    Raises:
        ValueError: the lengths differ.
    """
    predicted_a, predicted_b = _predicted(a), _predicted(b)
    if not len(y) == len(predicted_a) == len(predicted_b):
        raise ValueError(f"y, a and b must be of the same faces, but got {len(y)}, {len(a)} and {len(b)}")
    if clusters is not None and len(clusters) != len(y):
        raise ValueError(f"clusters must be of the same faces, but got {len(clusters)} of {len(y)}")
    if clusters is None or are_faces(clusters):
        clusters, num_clusters = np.arange(len(y)), None
        joint = _joint(y, predicted_a, predicted_b, num_classes)
        point, drawn = _difference(joint), _drawn_faces(joint, resamples, seed)
    else:
        point = drawn = None
        num_clusters = len(np.unique(clusters))
    right_a, right_b = predicted_a == y, predicted_b == y
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    side = num_classes + 1
    nothing = 5 * num_classes  # columns: right answers and answers of a, of b, faces; by class
    columns = np.stack(
        [
            np.where(right_a, y, nothing),
            np.where(predicted_a < 0, nothing, num_classes + predicted_a),
            np.where(right_b, 2 * num_classes + y, nothing),
            np.where(predicted_b < 0, nothing, 3 * num_classes + predicted_b),
            4 * num_classes + y,
        ]
    ).astype(np.int64)
    key = (y.astype(np.int64) * side + predicted_a % side) * side + predicted_b % side
    known = patterns(columns, key, clusters, nothing)
    if point is None or drawn is None:
        point = _of_columns(known.number @ known.counts, num_classes)
        drawn = _of_columns(known.resample(resamples, seed), num_classes)
    counts, half = known.counts, 2 * num_classes
    if num_clusters is None:
        p_accuracy = mcnemar(only_a, only_b)
    else:
        more_right = counts[:, :num_classes].sum(axis=1) - counts[:, half : half + num_classes].sum(axis=1)
        p_accuracy = permutation.p_of_accuracy(more_right.astype(np.int64), known.number)
    support = np.bincount(y, minlength=num_classes)
    others = permutation.p_of_class_scores(counts[:, :half], counts[:, half : 2 * half], known.number, support, seed)
    differences = {
        name: _score_difference(float(point[name]), drawn[name], p, num_clusters)
        for name, p in {"accuracy": p_accuracy, **others}.items()
    }
    return PairedTest(n=len(y), **differences, mcnemar=McNemar(only_a, only_b, p_accuracy))


def _score_difference(point: float, drawn: np.ndarray, p: float, num_clusters: int | None) -> ScoreDifference:
    """Of the difference that was measured, and those of the resamples, (resamples,)."""
    low, high = bounds(drawn, num_clusters, (-1.0, 1.0))
    if p >= LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return ScoreDifference(point, low, high, p)


def _drawn_faces(joint: np.ndarray, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """SCORES of a minus those of b (resamples,) of faces drawn from the joint counts."""
    cells, rng = joint.ravel(), np.random.default_rng(seed)
    num_faces = int(cells.sum())
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    for start in range(0, resamples, BATCH):
        batch = rng.multinomial(num_faces, cells / num_faces, size=min(BATCH, resamples - start))
        for name, values in _difference(batch.reshape(-1, *joint.shape)).items():
            drawn[name].append(values)
    return {name: np.concatenate(values) for name, values in drawn.items()}


def _of_columns(counts: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """SCORES of a minus those of b, of (..., 5C) columns as `paired` counts them."""
    right_a, answered_a, right_b, answered_b, support = np.split(counts, 5, axis=-1)
    seen = support > 0
    num_seen, faces = np.maximum(seen.sum(axis=-1), 1), np.maximum(support, 1)
    recall = (right_a - right_b) / faces
    f1 = 2 * right_a / np.maximum(support + answered_a, 1) - 2 * right_b / np.maximum(support + answered_b, 1)
    return {
        "accuracy": (right_a - right_b).sum(axis=-1) / np.maximum(support.sum(axis=-1), 1),
        "balanced_accuracy": (recall * seen).sum(axis=-1) / num_seen,
        "macro_f1": (f1 * seen).sum(axis=-1) / num_seen,
    }


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test: of the faces that one alone is right about, each is as likely either's."""
    num, least = only_a + only_b, min(only_a, only_b)
    if only_a == only_b:
        return 1.0
    tail = term = 1  # ways in which `least` of the faces or fewer are one side's; SciPy's test takes a second to import
    for k in range(least):
        term = term * (num - k) // (k + 1)
        tail += term
    return 2 * tail / 2**num


def spent(p: float, nth: int) -> float:
    """p of the nth candidate that is tried against one champion, so corrected that all of a series without end together
    are taken for better by chance no more often than the level that p is held against.

    The level is spent in shares of 1 / (2.612 · nth^1.5), the sum of which is 1 (the union bound holds however alike
    candidates are). Shares of 1 / (n (n + 1)) leave the first candidates more, the later ones less; over 50 candidates
    these find more (benchmarks/statistics/false_alarms.py). After Lan & DeMets 1983 (alpha spending) and
    Foster & Stine 2008 (alpha investing).

    nth: from 1. ValueError below.
    """
    if nth < 1:
        raise ValueError(f"candidates are counted from 1, but got {nth}")
    return min(1.0, p * SERIES * nth**1.5)


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
