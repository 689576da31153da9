"""Columns of a dataset's table as arrays."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from data_pipeline.schema import LABELS


def scores(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """(N, F) float32, columns in the order of `names`."""
    x = np.empty((table.num_rows, len(names)), np.float32)
    for index, name in enumerate(names):
        x[:, index] = table[name].to_numpy()
    return x


def images(pixels: pa.ChunkedArray, image_size: Sequence[int]) -> np.ndarray:
    """(N, H, W) uint8."""
    height, width = image_size
    flat = np.empty((len(pixels), height * width), np.uint8)
    start = 0
    for chunk in pixels.chunks:
        buffer = np.frombuffer(chunk.buffers()[1], np.uint8)
        flat[start : start + len(chunk)].reshape(-1)[:] = buffer[chunk.offset * height * width :][
            : flat[0].size * len(chunk)
        ]
        start += len(chunk)
    return flat.reshape(-1, height, width)


def class_votes(
    votes: pa.ChunkedArray, y: np.ndarray, class_of: Mapping[str, int], num_classes: int
) -> np.ndarray | None:
    """The annotators' votes for each class: (N, C) float32 rows that sum to 1; None where no row has votes.

    Args:
        votes: lists over LABELS, or null.
        y: (N,) class indices; a row without votes for any of the classes gets the one-hot of its own.
        class_of: label → class index; the votes for other labels do not count.
    """
    if votes.null_count == len(votes):
        return None
    given = votes.combine_chunks().flatten().to_numpy().reshape(-1, len(LABELS))
    counts = np.zeros((len(y), num_classes), np.float32)
    rows = np.flatnonzero(votes.is_valid().to_numpy())
    for index, label in enumerate(LABELS):
        if label in class_of:
            counts[rows, class_of[label]] += given[:, index]
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), np.eye(num_classes, dtype=np.float32)[y])
