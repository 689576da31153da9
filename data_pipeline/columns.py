"""Rows and columns of a dataset as arrays.

for table in read_rows(dataset, manifest, ["jawOpen", "landmarks"], rows):     # a part of the dataset at a time
    x = vectors(table, ["jawOpen", "landmark61x"])
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline import features
from data_pipeline.errors import InputError
from data_pipeline.geometry import NUM_LANDMARKS
from data_pipeline.schema import BLENDSHAPES, LABELS, open_part


def read_rows(
    directory: Path, manifest: Mapping[str, Any], columns: Sequence[str], rows: np.ndarray
) -> Iterator[pa.Table]:
    """Columns of some rows of a dataset, a table a part that has any of them; one part is in memory at a time.

    Args:
        rows: (n,) indices of rows of the whole dataset, rising.
    """
    start = 0
    for part in manifest["parts"]:
        first, last = np.searchsorted(rows, (start, start + part["num_rows"]))
        if first < last:
            yield open_part(directory, part, columns).take(pa.array(rows[first:last] - start))
        start += part["num_rows"]


def codes(column: pa.ChunkedArray, names: Sequence[str]) -> np.ndarray:
    """(N,) int32: the place in `names` of each value of a dictionary column; -1 where it is null or none of them."""
    place = {name: index for index, name in enumerate(names)}
    found = [np.empty(0, np.int32)]
    for chunk in column.chunks:
        known = np.array([*(place.get(name, -1) for name in chunk.dictionary.to_pylist()), -1], np.int32)
        found.append(known[chunk.indices.fill_null(len(known) - 1).to_numpy()])
    return np.concatenate(found)


def vectors(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """(N, F) float32: the features `names` (features.py) from columns of blendshapes and, if any is one, landmarks."""
    scores = np.full((table.num_rows, len(BLENDSHAPES)), np.nan, np.float32)
    for index, name in enumerate(BLENDSHAPES):
        if name in table.column_names:
            scores[:, index] = table[name].to_numpy()
    return features.values(names, scores, landmarks(table["landmarks"]) if "landmarks" in table.column_names else None)


def landmarks(column: pa.ChunkedArray) -> np.ndarray:
    """(N, 478, 3) float16. InputError where a row has none."""
    if column.null_count:
        raise InputError(f"{column.null_count} faces have no landmarks; leave their source out (task.sources)")
    return _bytes(column).view("<f2").reshape(-1, NUM_LANDMARKS, 3)


def images(pixels: pa.ChunkedArray, image_size: Sequence[int]) -> np.ndarray:
    """(N, H, W) uint8. Of many faces of a dataset `reading.pixels` is faster."""
    return _bytes(pixels).reshape(-1, *image_size)


def _bytes(column: pa.ChunkedArray) -> np.ndarray:
    """(N * size,) uint8 of a column of fixed-size binaries without nulls."""
    parts = [np.empty(0, np.uint8)]
    for chunk in column.chunks:
        size, data = chunk.type.byte_width, chunk.buffers()[1]
        parts.append(np.frombuffer(data, np.uint8)[chunk.offset * size : (chunk.offset + len(chunk)) * size])
    return parts[1] if len(parts) == 2 else np.concatenate(parts)


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
