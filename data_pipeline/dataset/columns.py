"""Rows and columns of a dataset as arrays.

for table in read_rows(dataset, manifest, ["jawOpen", "landmarks"], rows):     # a part of the dataset at a time
    points = landmarks(table["landmarks"])
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import Manifest
from fersweep.data_pipeline.dataset.parts import open_part
from fersweep.data_pipeline.vocabulary import NUM_LANDMARKS


def read_rows(directory: Path, manifest: Manifest, columns: Sequence[str], rows: np.ndarray) -> Iterator[pa.Table]:
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
    parts = [np.empty(0, np.int32)]
    for chunk in column.chunks:
        known = np.array([*(place.get(name, -1) for name in chunk.dictionary.to_pylist()), -1], np.int32)
        parts.append(known[chunk.indices.fill_null(len(known) - 1).to_numpy()])
    return np.concatenate(parts)


def floats(table: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """(N, len(columns)) float32, NaN where a value is null."""
    return np.column_stack([pc.fill_null(table[name], np.nan).to_numpy() for name in columns])


def landmarks(column: pa.ChunkedArray) -> np.ndarray:
    """(N, 478, 3) float16. InputError where a row has none."""
    if column.null_count:
        raise InputError(f"{column.null_count} faces have no landmarks; leave their source out (task.sources)")
    return _bytes(column).view("<f2").reshape(-1, NUM_LANDMARKS, 3)


def images(pixels: pa.ChunkedArray, image_size: Sequence[int]) -> np.ndarray:
    """(N, H, W) uint8. For many faces of a dataset `pixels.pixels` is faster."""
    return _bytes(pixels).reshape(-1, *image_size)


def _bytes(column: pa.ChunkedArray) -> np.ndarray:
    """(N * size,) uint8 of a column of fixed-size binaries without nulls."""
    parts = [np.empty(0, np.uint8)]
    for chunk in column.chunks:
        size, data = chunk.type.byte_width, chunk.buffers()[1]
        parts.append(np.frombuffer(data, np.uint8)[chunk.offset * size : (chunk.offset + len(chunk)) * size])
    return parts[1] if len(parts) == 2 else np.concatenate(parts)
