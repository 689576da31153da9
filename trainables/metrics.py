"""Classification scores from a confusion matrix, in NumPy (importing scikit-learn costs a trial seconds)."""

from __future__ import annotations

import numpy as np


def confusion(y: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """(num_classes, num_classes) int64 counts: rows are true classes, columns predicted ones."""
    index = y.astype(np.int64) * num_classes + predicted.astype(np.int64)
    return np.bincount(index, minlength=num_classes * num_classes).reshape(num_classes, num_classes)


def per_class(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class, (C,) float64 each; 0 where a class was never seen or predicted."""
    right = np.diag(counts).astype(np.float64)
    support, predicted = counts.sum(axis=1), counts.sum(axis=0)
    return {
        "precision": right / np.maximum(predicted, 1),
        "recall": right / np.maximum(support, 1),
        "f1": 2 * right / np.maximum(support + predicted, 1),
        "support": support,
    }


def scores(counts: np.ndarray) -> dict[str, float]:
    """Accuracy, balanced accuracy and macro-F1, over the classes that occur, as scikit-learn defines them."""
    of_class = per_class(counts)
    seen = of_class["support"] > 0
    # scikit-learn's macro-F1 averages over classes that occur in y or in the predictions.
    named = seen | (counts.sum(axis=0) > 0)
    return {
        "accuracy": float(np.trace(counts) / max(counts.sum(), 1)),
        "balanced_accuracy": float(of_class["recall"][seen].mean()) if seen.any() else 0.0,
        "macro_f1": float(of_class["f1"][named].mean()) if named.any() else 0.0,
    }


def majority_baseline(y_train: np.ndarray, y: np.ndarray, num_classes: int) -> dict[str, float | int]:
    """Scores on `y` of always guessing the most frequent class of `y_train`; `majority_class` is its index."""
    majority = int(np.bincount(y_train, minlength=num_classes).argmax())
    counts = confusion(y, np.full(len(y), majority), num_classes)
    return {"majority_class": majority, **scores(counts)}
