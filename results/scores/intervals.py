"""Scores of a classifier with 95 % bootstrap intervals, from its confusion matrix alone.

Shapes: C classes; a counts matrix is (C, C + 1), rows true classes, columns predicted ones, the last column the faces
that were not detected: they have a class, got no answer, and so count as wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fersweep.data_pipeline.tasks.clusters import INDEPENDENT
from fersweep.results.scores.resampling import FEW, RESAMPLES, Patterns, are_faces, bounds, patterns, resample
from fersweep.trainables.metrics import SCORES, confusion, guess, scores

BINS = 15
DASH = "–"  # what cannot be known


def protocol(words: str, num_clusters: int | None = None) -> str:
    """How intervals were made, of what is resampled, in words (`Clusters.words`), and how many clusters these are."""
    few = num_clusters is not None and num_clusters < FEW
    rough = f"; of only {num_clusters} independent groups, so they are rough" if few else ""
    return f"95 % percentile bootstrap over {words}, {RESAMPLES} resamples, seed 0{rough}"


PROTOCOL = protocol(INDEPENDENT)


class Part(BaseModel):
    """A part of a file of figures. What was not given to it is not written either, so older files are as they were."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, exclude_unset=True)

    @classmethod
    def from_json(cls, content: object) -> Self:
        """What `as_json` returned. Raises ValueError (pydantic's ValidationError) if a key is missing or of another type."""
        return cls.model_validate(content)


class Interval(Part):
    """A score with the bounds of its 95 % interval. As text: `0.712 [0.690, 0.733]`."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class ClassScores(Part):
    """Scores of one class; support: its number of faces. None: what cannot be known, of a class without faces, or the
    precision of one that is never predicted.
    """

    precision: float | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    f1: float | None
    support: int

    def cells(self) -> list[str]:
        """Precision, recall with its interval, F1 and number of faces, as every table shows them."""
        recall = DASH
        if self.recall is not None and self.recall_low is not None and self.recall_high is not None:
            recall = str(Interval(value=self.recall, low=self.recall_low, high=self.recall_high))
        return [cell(self.precision), recall, cell(self.f1), str(self.support)]


class Guess(Part):
    """Scores of always answering one class, train's most frequent one."""

    majority: str = Field(validation_alias="class", serialization_alias="class")
    accuracy: float
    balanced_accuracy: float
    macro_f1: float

    def score(self, name: str) -> float:
        """One of SCORES."""
        return getattr(self, name)


class Bin(Part):
    """The num answers with a confidence in (low, high]: their mean confidence, and the share that is right."""

    low: float
    high: float
    confidence: float
    accuracy: float
    num: int


class Calibration(Part):
    """ece: the expected calibration error; bins: those with faces."""

    ece: float
    bins: list[Bin]


class FaceScores(Part):
    """Scores of a model on one set of faces.

    Attributes:
        per_class: by the class's name.
        confusion: C lists of C + 1 counts.
        baseline: of the same faces; None where there is none.
        auc: None if only one class occurs, or where the model's probabilities are not of these faces.
        calibration: None where the model's probabilities are not of these faces.
    """

    num_faces: int
    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]
    baseline: Guess | None = None
    auc: float | None = None
    calibration: Calibration | None = None

    def score(self, name: str) -> Interval:
        """One of SCORES."""
        return getattr(self, name)


def count(
    y: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    undetected: np.ndarray | None = None,
) -> np.ndarray:
    """The (C, C + 1) int64 counts of y and predicted, (N,) class indices; undetected, (M,), is the last column."""
    unanswered = np.empty(0, np.int32) if undetected is None else undetected
    return np.column_stack([confusion(y, predicted, num_classes), np.bincount(unanswered, minlength=num_classes)])


def count_clusters(y: np.ndarray, predicted: np.ndarray, num_classes: int, clusters: np.ndarray) -> Patterns | None:
    """What each cluster (N,) counts of y and predicted (N,), num_classes for no answer; None if each is one face."""
    if are_faces(clusters):
        return None
    cells = y.astype(np.int64) * (num_classes + 1) + predicted
    return patterns(cells[None], cells, clusters, num_classes * (num_classes + 1))


def score_faces(
    counts: np.ndarray, classes: Sequence[str], majority: int | None = None, clusters: Patterns | None = None
) -> FaceScores:
    """Scores and intervals of a model on one set of faces, without `auc` and `calibration`.

    Args:
        counts: (C, C + 1), at least one face.
        majority: index of the class that the baseline always guesses; None leaves the baseline out.
        clusters: the same faces by cluster (`count_clusters`); None: each face is drawn by itself.
    """
    point = scores(counts)
    drawn = scores(resample(counts) if clusters is None else clusters.resample().reshape(-1, *counts.shape))
    num_clusters = None if clusters is None else clusters.num_clusters

    def interval(name: str) -> Interval:
        low, high = bounds(drawn[name], num_clusters, (0.0, 1.0))
        return Interval(value=float(point[name]), low=low, high=high)

    def of_class(index: int) -> ClassScores:
        recall = drawn["recall"][:, index]
        recall = recall[~np.isnan(recall)]  # draws that have a face of the class
        low, high = bounds(recall, num_clusters, (0.0, 1.0)) if len(recall) else (np.nan, np.nan)
        return ClassScores(
            precision=known(point["precision"][index]),
            recall=known(point["recall"][index]),
            recall_low=known(low),
            recall_high=known(high),
            f1=known(point["f1"][index]),
            support=int(point["support"][index]),
        )

    figures = FaceScores(
        num_faces=int(counts.sum()),
        accuracy=interval("accuracy"),
        balanced_accuracy=interval("balanced_accuracy"),
        macro_f1=interval("macro_f1"),
        per_class={name: of_class(index) for index, name in enumerate(classes)},
        confusion=counts.tolist(),
    )
    if majority is None:
        return figures
    baseline = Guess(majority=classes[majority], **guess(counts, majority))
    return figures.model_copy(update={"baseline": baseline})


def score_folds(
    y: np.ndarray, predicted: np.ndarray, num_classes: int, folds: np.ndarray, clusters: np.ndarray | None = None
) -> dict[str, Interval]:
    """The means over folds of each of SCORES, with their intervals.

    Drawn are faces, or clusters, of all folds at once: within a fold of few persons there is little to draw. A fold without
    a face in a draw is left out of its mean. Shapes: y, predicted, folds and clusters (N,).
    """
    _, fold = np.unique(folds, return_inverse=True)
    shape = (int(fold.max()) + 1, num_classes, num_classes + 1)
    cells = np.ravel_multi_index((fold, y.astype(np.int64), predicted.astype(np.int64)), shape)
    of_faces = clusters is None or are_faces(clusters)
    alike = patterns(cells[None], cells, np.arange(len(y)) if clusters is None else clusters, int(np.prod(shape)))
    counts, num_clusters = alike.number @ alike.counts, None if of_faces else alike.num_clusters

    def means(counts: np.ndarray) -> dict[str, np.ndarray]:
        """Of (..., folds, C, C + 1) counts."""
        seen = counts.sum(axis=(-2, -1)) > 0
        of_folds = scores(counts)
        return {name: (of_folds[name] * seen).sum(axis=-1) / seen.sum(axis=-1) for name in SCORES}

    point, drawn = means(counts.reshape(shape)), means(alike.resample().reshape(-1, *shape))
    intervals: dict[str, Interval] = {}
    for name in SCORES:
        low, high = bounds(drawn[name], num_clusters, (0.0, 1.0))
        intervals[name] = Interval(value=float(point[name]), low=low, high=high)
    return intervals


def known(value: float) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else float(value)


def cell(value: float | None, digits: int = 3) -> str:
    """A score in a table; DASH for None."""
    return DASH if value is None else f"{value:.{digits}f}"


def auc(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve of each class that occurs against the others, averaged (macro, one-vs-rest).

    y (N,) class indices, probabilities (N, C). By ranks (Hanley & McNeil 1982), ties counting half, as scikit-learn's
    `roc_auc_score(multi_class="ovr")`. NaN if only one class occurs.
    """
    from scipy.stats import rankdata  # pyright: ignore[reportUnknownVariableType]

    areas: list[float] = []
    for index in np.unique(y):
        positive = y == index
        num, others = int(positive.sum()), int((~positive).sum())
        if others:
            ranks = rankdata(probabilities[:, index])[positive].sum()
            areas.append((ranks - num * (num + 1) / 2) / (num * others))
    return float(np.mean(areas)) if areas else float("nan")


def calibration(y: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> Calibration:
    """Whether a model is right as often as it is sure: of its most probable class, in `bins` bins of equal width.

    y (N,) class indices, probabilities (N, C). `ece` (Guo et al. 2017, arXiv:1706.04599) is the mean distance of
    confidence from accuracy, bins weighed by their faces.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # (low, high], as in the paper
    filled = [
        Bin(
            low=i / bins,
            high=(i + 1) / bins,
            confidence=float(confidence[index == i].mean()),
            accuracy=float(right[index == i].mean()),
            num=int((index == i).sum()),
        )
        for i in np.unique(index).tolist()
    ]
    ece = 0.0
    for part in filled:
        ece += abs(part.confidence - part.accuracy) * part.num / len(y)
    return Calibration(ece=ece, bins=filled)


def as_text(figures: FaceScores) -> str:
    """A plain table for people."""
    lines = [f"{figures.num_faces} faces; {PROTOCOL}", ""]
    for name in SCORES:
        score = figures.score(name)
        lines.append(f"{name.replace('_', ' '):18} {score.value:.3f}  [{score.low:.3f}, {score.high:.3f}]")
    width = max(len(name) for name in figures.per_class)
    lines += ["", f"{'':{width}}  precision  recall                f1     faces"]
    for name, row in figures.per_class.items():
        precision, recall, f1, faces = row.cells()
        lines.append(f"{name:{width}}  {precision:>9}  {recall:20}  {f1:5}  {faces:>5}")
    return "\n".join(lines) + "\n"
