"""The arrays that a model learns from."""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True)
class Arrays:
    """Faces of one split."""

    x: np.ndarray  # (N, F) float32 blendshapes, landmarks | (N, H, W) uint8 pixels
    y: np.ndarray  # (N,) int32 index into classes
    weight: np.ndarray  # (N,) float32, ones unless the source weighs rows
    face_ids: np.ndarray  # (N,) str
    votes: np.ndarray | None = None  # (N, C) float32, rows sum to 1: see class_votes; None of test


@dataclass(frozen=True)
class TaskArrays:
    """What a trainable is built from. test is not in it."""

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


def preprocessing(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """How MediaPipe saw the faces of this dataset, which a model of it must repeat; empty for ready-made scores."""
    if manifest["image_size"] is None:
        return dict(manifest.get("landmarks") or {})
    how = {"image_size": manifest["image_size"]}
    how |= {"fit": manifest["fit"]} if "fit" in manifest else {}
    how |= {"crop": "none"} if manifest.get("options", {}).get("crop") == "none" else {}
    return {**(manifest.get("landmarks") or {}), **how}
