"""Scores of a classifier with 95 % bootstrap intervals, from its confusion matrix alone.

Shapes: C classes; a counts matrix is (C, C + 1), rows true classes, columns predicted ones, the last column the faces
that were not detected: they have a class, got no answer, and so count as wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SCORES = ("accuracy", "balanced_accuracy", "macro_f1")
RESAMPLES = 2000
PROTOCOL = f"95 % percentile bootstrap over faces, {RESAMPLES} resamples, seed 0"


def count(
    y: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    undetected: np.ndarray | None = None,
) -> np.ndarray:
    """The (C, C + 1) int64 counts of y and predicted, (N,) class indices; undetected, (M,), is the last column."""
    width = num_classes + 1
    cells = y.astype(np.int64) * width + predicted.astype(np.int64)
    if undetected is not None:
        cells = np.concatenate([cells, undetected.astype(np.int64) * width + num_classes])
    return np.bincount(cells, minlength=num_classes * width).reshape(num_classes, width)


def score(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of one or many counts matrices at once, as scikit-learn defines them.

    Args:
        counts: (..., C, C + 1).

    Returns:
        `accuracy`, `balanced_accuracy`, `macro_f1` (...,) and `precision`, `recall`, `f1`, `support` (..., C), float64.
        Balanced accuracy averages over the classes that occur, macro-F1 over those that occur or are predicted.
    """
    counts = np.asarray(counts, dtype=np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    support = counts.sum(axis=-1)
    predicted = counts.sum(axis=-2)[..., :-1]
    recall = right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + predicted, 1)
    seen, named = support > 0, support + predicted > 0
    return {
        "accuracy": right.sum(axis=-1) / np.maximum(support.sum(axis=-1), 1),
        "balanced_accuracy": (recall * seen).sum(axis=-1) / np.maximum(seen.sum(axis=-1), 1),
        "macro_f1": (f1 * named).sum(axis=-1) / np.maximum(named.sum(axis=-1), 1),
        "precision": right / np.maximum(predicted, 1),
        "recall": recall,
        "f1": f1,
        "support": support,
    }


def resample(counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """(resamples, C, C + 1) counts of as many draws of the N faces with replacement.

    A draw of faces is a multinomial draw of the cells that they fall in, so no index is ever made
    (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13: percentile intervals).
    """
    num_faces = int(counts.sum())
    draws = np.random.default_rng(seed).multinomial(num_faces, counts.ravel() / num_faces, size=resamples)
    return draws.reshape(resamples, *counts.shape)


def figures(counts: np.ndarray, classes: list[str], majority: int | None = None) -> dict[str, Any]:
    """All that is said of a model on one set of faces, JSON-able.

    Args:
        counts: (C, C + 1), at least one face.
        majority: index of the class that the baseline always guesses; None leaves the baseline out.

    Returns:
        `num_faces`; each of SCORES as {value, low, high}; `per_class` name -> {precision, recall, recall_low,
        recall_high, f1, support}; `baseline`; `confusion` (C lists of C + 1).
    """
    point, drawn = score(counts), score(resample(counts))
    bounds = {name: np.percentile(drawn[name], [2.5, 97.5], axis=0) for name in (*SCORES, "recall")}
    of_class = {
        name: {
            "precision": float(point["precision"][i]),
            "recall": float(point["recall"][i]),
            "recall_low": float(bounds["recall"][0, i]),
            "recall_high": float(bounds["recall"][1, i]),
            "f1": float(point["f1"][i]),
            "support": int(point["support"][i]),
        }
        for i, name in enumerate(classes)
    }
    found: dict[str, Any] = {"num_faces": int(counts.sum())}
    for name in SCORES:
        low, high = bounds[name]
        found[name] = {
            "value": float(point[name]),
            "low": float(low),
            "high": float(high),
        }
    found |= {"per_class": of_class, "confusion": counts.tolist()}
    if majority is not None:
        found["baseline"] = baseline(counts, classes, majority)
    return found


def baseline(counts: np.ndarray, classes: list[str], majority: int) -> dict[str, Any]:
    """Scores of guessing the class with index `majority` for every face of counts, (C, C + 1)."""
    guessed = np.zeros_like(counts)
    guessed[:, majority] = counts.sum(axis=1)
    scored = score(guessed)
    return {
        "class": classes[majority],
        **{name: float(scored[name]) for name in SCORES},
    }


def as_text(found: dict[str, Any]) -> str:
    """The figures as a plain table for people."""
    lines = [f"{found['num_faces']} faces; {PROTOCOL}", ""]
    for name in SCORES:
        one = found[name]
        lines.append(f"{name.replace('_', ' '):18} {one['value']:.3f}  [{one['low']:.3f}, {one['high']:.3f}]")
    width = max(len(name) for name in found["per_class"])
    lines += ["", f"{'':{width}}  precision  recall            f1     faces"]
    for name, one in found["per_class"].items():
        recall = f"{one['recall']:.3f} [{one['recall_low']:.3f}, {one['recall_high']:.3f}]"
        lines.append(f"{name:{width}}  {one['precision']:9.3f}  {recall}  {one['f1']:.3f}  {one['support']:5d}")
    return "\n".join(lines) + "\n"
