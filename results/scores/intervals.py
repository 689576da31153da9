"""Scores of a classifier with 95 % bootstrap intervals, from its confusion matrix alone.

Shapes: C classes; a counts matrix is (C, C + 1), rows true classes, columns predicted ones, the last column the faces
that were not detected: they have a class, got no answer, and so count as wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fersweep.trainables.metrics import SCORES, confusion, guess, scores

RESAMPLES = 2000
BINS = 15
JUDGED = {
    "detected": "detected faces",
    "all": "all faces",
    "shared": "shared classes only",
    "tta": "with mirror image (tta)",
}
PROTOCOL = f"95 % percentile bootstrap over faces, {RESAMPLES} resamples, seed 0"


def count(
    y: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    undetected: np.ndarray | None = None,
) -> np.ndarray:
    """The (C, C + 1) int64 counts of y and predicted, (N,) class indices; undetected, (M,), is the last column."""
    unanswered = np.empty(0, np.int32) if undetected is None else undetected
    return np.column_stack([confusion(y, predicted, num_classes), np.bincount(unanswered, minlength=num_classes)])


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
    point, drawn = scores(counts), scores(resample(counts))
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
        found["baseline"] = {"class": classes[majority], **guess(counts, majority)}
    return found


def judged(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those figures of `evaluate` that differ, under the keys of JUDGED; first those that a model is ranked by."""
    same = found["detected"]["num_faces"] == found["all"]["num_faces"]
    return {key: found[key] for key in JUDGED if key in found and not (same and key == "detected")}


def auc(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve of each class that occurs against the others, averaged (macro, one-vs-rest).

    y (N,) class indices, probabilities (N, C). By ranks (Hanley & McNeil 1982), ties counting half, as scikit-learn's
    `roc_auc_score(multi_class="ovr")`. NaN if only one class occurs.
    """
    from scipy.stats import rankdata

    areas = []
    for index in np.unique(y):
        positive = y == index
        num, others = int(positive.sum()), int((~positive).sum())
        if others:
            ranks = rankdata(probabilities[:, index])[positive].sum()
            areas.append((ranks - num * (num + 1) / 2) / (num * others))
    return float(np.mean(areas)) if areas else float("nan")


def calibration(y: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """Whether a model is right as often as it is sure: of its most probable class, in `bins` bins of equal width.

    y (N,) class indices, probabilities (N, C).

    Returns:
        `ece`, the expected calibration error (Guo et al. 2017, arXiv:1706.04599): the mean distance of confidence from
        accuracy, bins weighed by their faces; `bins`: those with faces, {low, high, confidence, accuracy, num}.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # (low, high], as in the paper
    found, ece = [], 0.0
    for i in np.unique(index):
        inside = index == i
        one = {
            "low": i / bins,
            "high": (i + 1) / bins,
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(right[inside].mean()),
            "num": int(inside.sum()),
        }
        found.append(one)
        ece += abs(one["confidence"] - one["accuracy"]) * one["num"] / len(y)
    return {"ece": ece, "bins": found}


def interval(one: dict[str, float]) -> str:
    """`0.712 [0.690, 0.733]`."""
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def as_text(found: dict[str, Any]) -> str:
    """The figures as a plain table for people."""
    lines = [f"{found['num_faces']} faces; {PROTOCOL}", ""]
    for name in SCORES:
        one = found[name]
        lines.append(f"{name.replace('_', ' '):18} {one['value']:.3f}  [{one['low']:.3f}, {one['high']:.3f}]")
    width = max(len(name) for name in found["per_class"])
    lines += ["", f"{'':{width}}  precision  recall            f1     faces"]
    for name, one in found["per_class"].items():
        recall = interval({"value": one["recall"], "low": one["recall_low"], "high": one["recall_high"]})
        lines.append(f"{name:{width}}  {one['precision']:9.3f}  {recall}  {one['f1']:.3f}  {one['support']:5d}")
    return "\n".join(lines) + "\n"
