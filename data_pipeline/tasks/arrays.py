"""The arrays that a model learns from."""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from fersweep.data_pipeline.dataset.columns import landmarks
from fersweep.data_pipeline.tasks import features
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, LABELS


def vectors(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """(N, F) float32: the features `names` (features.py) from columns of blendshapes and, if any is one, landmarks."""
    scores = np.full((table.num_rows, len(BLENDSHAPES)), np.nan, np.float32)
    for index, name in enumerate(BLENDSHAPES):
        if name in table.column_names:
            scores[:, index] = table[name].to_numpy()
    return features.values(names, scores, landmarks(table["landmarks"]) if "landmarks" in table.column_names else None)


def class_votes(
    votes: pa.ChunkedArray, y: np.ndarray, class_of: Mapping[str, int], num_classes: int
) -> np.ndarray | None:
    """The annotators' votes for each class: (N, C) float32 rows that sum to 1; None where no row has votes.

    Args:
        votes: lists over LABELS, or null.
        y: (N,) class indices; a row without votes for any of the classes gets the one-hot of its own class.
        class_of: label → class index; the votes for other labels do not count.
    """
    if votes.null_count == len(votes):
        return None
    shares = votes.combine_chunks().flatten().to_numpy().reshape(-1, len(LABELS))
    counts = np.zeros((len(y), num_classes), np.float32)
    rows = np.flatnonzero(votes.is_valid().to_numpy())
    for index, label in enumerate(LABELS):
        if label in class_of:
            counts[rows, class_of[label]] += shares[:, index]
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), np.eye(num_classes, dtype=np.float32)[y])


def statistics(x: np.ndarray, y: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """`mean`, `std` and `class_weight` of train, as in TaskArrays."""
    counts = np.bincount(y, minlength=num_classes)
    if x.dtype == np.uint8:
        blocks = np.array_split(x, len(x) // 1024 + 1)  # bincount copies its input as int64
        values = sum(np.bincount(block.reshape(-1), minlength=256) for block in blocks) / x.size
        mean = np.array([values @ np.arange(256)])
        std = np.sqrt([values @ (np.arange(256) - mean[0]) ** 2])
    else:
        mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    return {
        "mean": mean.astype(np.float32),
        "std": np.maximum(std, 1e-6).astype(np.float32),
        "class_weight": (len(y) / (len(counts) * counts)).astype(np.float32),
    }


@dataclass(frozen=True)
class Arrays:
    """Faces of one split."""

    x: np.ndarray  # (N, F) float32 blendshapes, landmarks | (N, H, W) uint8 pixels
    y: np.ndarray  # (N,) int32 index into classes
    weight: np.ndarray  # (N,) float32, ones unless the source weighs rows
    face_ids: np.ndarray  # (N,) str
    votes: np.ndarray | None = None  # (N, C) float32, rows sum to 1: see class_votes, TaskArrays.taught; None of test

    def taken(self, rows: np.ndarray | slice) -> Arrays:
        """Those of `rows`; of a slice a view, else a copy."""
        votes = None if self.votes is None else self.votes[rows]
        return Arrays(self.x[rows], self.y[rows], self.weight[rows], self.face_ids[rows], votes)


@dataclass(frozen=True)
class Fold:
    """One of several folds: which rows of `TaskArrays.train` its model learns, and which are its val.

    Attributes:
        train, val: (n,) and (m,) int64 rows.
        columns: (F_k,) int64, the features that this fold's train chose, among `feature_names`.
        mean, std, class_weight: as in TaskArrays, from this fold's train alone.
    """

    train: np.ndarray
    val: np.ndarray
    columns: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    class_weight: np.ndarray


@dataclass(frozen=True)
class TaskArrays:
    """What a trainable is built from. test is not in it.

    With `folds`, `train` holds the faces of all folds once, those of `val` first: `val` is a view of it. No model may learn
    from `train`, `mean`, `std` or `class_weight` then, but from `of_fold(k)`.
    """

    train: Arrays
    val: Arrays
    classes: list[str]
    feature_names: list[str]
    mean: np.ndarray  # (F,) float32, from train; pixels: F = 1
    std: np.ndarray  # (F,) float32, from train, never below 1e-6
    class_weight: np.ndarray  # (C,) float32, n / (C * n_c), from train
    fingerprint: str
    preprocessing: dict[str, Any]
    """What inference must repeat: border, size, views, image_size, fit, crop, bundle, MediaPipe version."""
    groups: dict[str, list[str]] = field(default_factory=dict)  # class → labels of the dataset
    learned: list[dict[str, Any]] = field(default_factory=list)  # of which faces train is: `Task.learned`
    folds: list[Fold] = field(default_factory=list)  # of `fold: all`
    taught: bool = False  # `train.votes` are what a teacher made of them: models learn these, not `train.y`

    def of_fold(self, number: int) -> TaskArrays:
        """What the model of a fold is built from: the arrays of `fold: number`, copies."""
        fold = self.folds[number]
        train, val = self.train.taken(fold.train), self.val.taken(fold.val)
        names = [self.feature_names[column] for column in fold.columns]
        if len(names) < len(self.feature_names):
            train, val = (replace(part, x=np.take(part.x, fold.columns, axis=1)) for part in (train, val))
        own, others = self.learned[:1], self.learned[1:]  # the others are what a teacher learned
        learned = [{**record, "task": {**record["task"], "fold": number}} for record in own] + others
        statistics = {"mean": fold.mean, "std": fold.std, "class_weight": fold.class_weight}
        return replace(self, train=train, val=val, feature_names=names, learned=learned, folds=[], **statistics)

    def with_val(self) -> Self:
        """With folds: the same, with `val` as the view of `train` that it is."""
        num_val = sum(len(fold.val) for fold in self.folds)
        return replace(self, val=self.train.taken(slice(num_val))) if self.folds else self

    def without_val(self) -> Self:
        """With folds: the same, without `val`, to be sent: views of one array are sent twice."""
        return replace(self, val=self.train.taken(slice(0))) if self.folds else self

    def taught_by(self, votes: np.ndarray, learned: Sequence[dict[str, Any]]) -> Self:
        """The same, with a teacher's `votes` (N, C) for the faces of `train`. `learned`: of which faces the teacher is; what it
        tells of them, its student may know.
        """
        train, more = replace(self.train, votes=votes), [record for record in learned if record not in self.learned]
        return replace(self, train=train, taught=True, learned=[*self.learned, *more]).with_val()

    def part(self, rows: np.ndarray) -> TaskArrays:
        """With folds: the same, with only these `rows` (n,) of `train`, rising. The statistics stay."""
        place = np.full(len(self.train.y), -1)
        place[rows] = np.arange(len(rows))
        folds = [
            replace(fold, train=place[np.intersect1d(fold.train, rows)], val=place[np.intersect1d(fold.val, rows)])
            for fold in self.folds
        ]
        return replace(self, train=self.train.taken(rows), folds=folds).with_val()


def preprocessing(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """How MediaPipe saw the faces of this dataset, which a model of it must repeat; empty for ready-made scores."""
    if manifest["image_size"] is None:
        return dict(manifest.get("landmarks") or {})
    how = {"image_size": manifest["image_size"]}
    how |= {"fit": manifest["fit"]} if "fit" in manifest else {}
    how |= {"crop": "none"} if manifest.get("options", {}).get("crop") == "none" else {}
    return {**(manifest.get("landmarks") or {}), **how}
