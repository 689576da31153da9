"""Greedy selection of an ensemble: which models' mean answers val best, each counted as often as it was chosen.

counts = greedy(probabilities, y, "macro_f1")       # (T,) whole numbers: the weights

After Caruana, Niculescu-Mizil, Crew and Ksikes 2004, "Ensemble selection from libraries of models" (ICML): models are
added with replacement, each time the one that improves the mean most; it begins with the best models of the sorted list, as many as do best
together; and, where asked for, several times on a random half of the models, the counts of which are added up ("bagged").

Shapes: T models, N faces, C classes. A face that a model does not see has a row of NaN: the mean is over those that see it.
"""

from __future__ import annotations

import numpy as np

from fersweep.trainables.metrics import SCORES, confusion, scores

MAX_ROUNDS = 25
BAGS, SHARE = 20, 0.5  # of a bagged selection: how often, and of how many of the models
LEAST = 1e-9  # an improvement that is none


def greedy(
    probabilities: np.ndarray, y: np.ndarray, metric: str, max_rounds: int = MAX_ROUNDS, bags: int = 0, seed: int = 0
) -> np.ndarray:
    """How often each model is chosen: (T,) int64, at least one of them once.

    Args:
        probabilities: (T, N, C), rows of NaN where a model does not see a face.
        y: (N,) class indices.
        metric: one of SCORES, or `loss`, see `score`.
        max_rounds: models that are added at most, after those that it begins with.
        bags: 0: once, among all models; else so often, each time among SHARE of them, drawn with `seed`.
    """
    seen = _answered(probabilities)
    answers = np.where(seen[..., None], probabilities, 0.0).astype(np.float64)
    num = len(answers)
    if not bags:
        return _greedy(answers, seen, y, metric, max_rounds)
    counts, rng = np.zeros(num, np.int64), np.random.default_rng(seed)
    for _ in range(bags):
        drawn = np.sort(rng.choice(num, max(1, round(SHARE * num)), replace=False))
        counts[drawn] += _greedy(answers[drawn], seen[drawn], y, metric, max_rounds)
    return counts


def score(probabilities: np.ndarray, y: np.ndarray, metric: str) -> float:
    """How good answers (N, C) to faces of classes y (N,) are; more is better.

    A row of NaN is no answer: it is wrong in each of SCORES, and for `loss`, the negative mean cross-entropy in nats, it knows
    nothing, so that each class has the same probability.
    """
    answered = _answered(probabilities)
    num_classes = probabilities.shape[1]
    if metric == "loss":
        picked = np.where(answered, probabilities[np.arange(len(y)), y], 1 / num_classes)
        return float(np.log(np.maximum(picked, 1e-12)).mean())
    assert metric in SCORES
    predicted = np.asarray(np.where(answered[:, None], probabilities, 0.0).argmax(axis=1))
    predicted[~answered] = num_classes
    counts = confusion(y, predicted, num_classes + 1)[:-1]
    return float(scores(counts)[metric])


def mean(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N, C): the mean of answers (T, N, C), each face's over the models that see it; NaN where none does."""
    seen = _answered(probabilities)
    answers = np.where(seen[..., None], probabilities, 0.0).astype(np.float64)
    return _divided(np.tensordot(weights, answers, axes=1), weights @ seen)


def _greedy(answers: np.ndarray, seen: np.ndarray, y: np.ndarray, metric: str, max_rounds: int) -> np.ndarray:
    """answers: (T, N, C), 0 where a face is not `seen` (T, N)."""

    def judged(total: np.ndarray, weight: np.ndarray) -> float:
        return score(_divided(total, weight), y, metric)

    alone = np.array([judged(one, by.astype(float)) for one, by in zip(answers, seen, strict=True)])
    order = np.argsort(-alone, kind="stable")
    totals, weights = answers[order].cumsum(axis=0), seen[order].cumsum(axis=0).astype(float)
    together = [judged(total, weight) for total, weight in zip(totals, weights, strict=True)]
    first = int(np.argmax(np.array(together) > max(together) - LEAST))  # the fewest that do as well
    counts = np.zeros(len(answers), np.int64)
    counts[order[: first + 1]] = 1
    total, weight, best = totals[first], weights[first], together[first]
    for _ in range(max_rounds):
        added = [judged(total + one, weight + by) for one, by in zip(answers, seen, strict=True)]
        chosen = int(np.argmax(added))
        if added[chosen] <= best + LEAST:
            break
        total, weight, best = total + answers[chosen], weight + seen[chosen], added[chosen]
        counts[chosen] += 1
    return counts


def _answered(probabilities: np.ndarray) -> np.ndarray:
    """(…,) bool: rows of probabilities (…, C) that are an answer."""
    return np.asarray(np.isfinite(probabilities[..., 0]))


def _divided(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """total (N, C) by weight (N,); NaN where that is 0."""
    return np.where(weight[:, None] > 0, total / np.where(weight > 0, weight, 1)[:, None], np.nan)
