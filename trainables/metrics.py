"""Classification scores from confusion matrices, in NumPy (importing scikit-learn costs a trial seconds).

Shapes: C classes; a counts matrix has rows of true classes and columns of predicted ones. Columns beyond C count
faces without an answer: they have a class, and so are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

SCORES = ("accuracy", "balanced_accuracy", "macro_f1")
FOLD_METRICS = ("val_loss", *(f"val_{name}" for name in SCORES))
"""What a trial of `task.fold: all` reports of each fold (`fold_metric`), beside the means."""
EpochMetrics = dict[str, float]
"""Metrics of an epoch by name: `epoch` and protocol.METRICS; some trainables have more."""


def fold_metric(metric: str, fold: int) -> str:
    """The name of a fold's own value of a metric: `val_macro_f1_fold3`."""
    return f"{metric}_fold{fold}"


def is_fold_metric(name: str) -> bool:
    """Whether it is the name of a fold's own value."""
    return re.fullmatch(r".+_fold\d+", name) is not None


def fold_values(row: Mapping[str, float], metric: str) -> list[float]:
    """Each fold's value of a metric in an epoch's row, in the order of the folds; [] of a row that has none."""
    values: list[float] = []
    while (name := fold_metric(metric, len(values))) in row:
        values.append(row[name])
    return values


def confusion(y: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """(C, C) int64 counts of y and predicted, (N,) class indices."""
    index = y.astype(np.int64) * num_classes + predicted.astype(np.int64)
    return np.bincount(index, minlength=num_classes * num_classes).reshape(num_classes, num_classes)


def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of one or many counts matrices at once. All averages are over the classes that have faces.

    A class without faces has no recall, so it counts in no score; a face that is taken for it counts as wrong in its
    own class. Macro-F1 is scikit-learn's `f1_score(y, predicted, labels=np.unique(y), average="macro")`: the mean of
    the classes' F1 (Opitz & Burst 2019, arXiv:1911.03347). Balanced accuracy is its `balanced_accuracy_score`.

    Args:
        counts: (..., C, C) or (..., C, C + 1).

    Returns:
        each of SCORES (...,) and `precision`, `recall`, `f1`, `support` (..., C), float64. NaN: precision, recall and
        F1 of a class without faces, and precision of a class that is never predicted.
    """
    counts = np.asarray(counts, dtype=np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    support = counts.sum(axis=-1)
    predicted = counts.sum(axis=-2)[..., : counts.shape[-2]]
    seen = support > 0
    recall = right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + predicted, 1)
    num_seen = np.maximum(seen.sum(axis=-1), 1)
    return {
        "accuracy": right.sum(axis=-1) / np.maximum(support.sum(axis=-1), 1),
        "balanced_accuracy": (recall * seen).sum(axis=-1) / num_seen,
        "macro_f1": (f1 * seen).sum(axis=-1) / num_seen,
        "precision": np.where(seen & (predicted > 0), right / np.maximum(predicted, 1), np.nan),
        "recall": np.where(seen, recall, np.nan),
        "f1": np.where(seen, f1, np.nan),
        "support": support,
    }


def guess(counts: np.ndarray, majority: int) -> dict[str, float]:
    """SCORES of the class with index `majority` as the answer for every face of counts, (C, C) or (C, C + 1)."""
    guessed = np.zeros_like(counts)
    guessed[:, majority] = counts.sum(axis=1)
    guess_scores = scores(guessed)
    return {name: float(guess_scores[name]) for name in SCORES}


def majority_baseline(y_train: np.ndarray, y: np.ndarray, num_classes: int) -> dict[str, float | int]:
    """Scores on `y` of always guessing the most frequent class of `y_train`; `majority_class` is its index."""
    majority = int(np.bincount(y_train, minlength=num_classes).argmax())
    return {"majority_class": majority, **guess(confusion(y, y, num_classes), majority)}
