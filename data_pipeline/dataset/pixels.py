"""Pixels of a dataset without a detour: `x = pixels(Path("runs/data/fer2013"), rows)`, (n, H, W) uint8.

A part is uncompressed Parquet, and its pixels are bytes of a fixed length, none null, in one data page: the payload of that
page is the array itself. It is mapped into memory, and the wanted rows are copied once, into the array that is returned.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import Manifest, read_manifest
from fersweep.data_pipeline.dataset.parts import part_file, read_part, unreadable

HEADER_BYTES = 32  # of a page: more than is read of it


def pixels(
    directory: Path,
    rows: np.ndarray | None = None,
    manifest: Manifest | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """(n, H, W) uint8: faces of a dataset, those of `rows` (n,) in their order, or all.

    Rows are counted over the whole dataset. `out`: an array to write them to. Beside the result at most one part is in memory, in pages that the system
    may drop. InputError where the dataset has no pixels, or a part is missing or truncated; IndexError for a row out
    of range.
    """
    directory = Path(directory)
    manifest = manifest or read_manifest(directory)
    image_size = manifest["image_size"]
    if image_size is None:
        raise InputError(f"{directory} has no pixels: it is made of ready-made blendshapes")
    sizes = [part["num_rows"] for part in manifest["parts"]]
    if rows is None:
        for part in manifest["parts"]:  # before memory is taken for what they should hold
            part_file(directory, part)
        rows = np.arange(sum(sizes))
    rows = np.asarray(rows, np.int64)
    if len(rows) and not (rows.min() >= 0 and rows.max() < sum(sizes)):
        raise IndexError(f"rows must lie in 0–{sum(sizes) - 1}, but got {rows.min()}–{rows.max()}")
    faces = np.empty((len(rows), *image_size), np.uint8) if out is None else out
    rising = bool((rows[1:] > rows[:-1]).all())
    start = 0
    for part, size in zip(manifest["parts"], sizes, strict=True):
        if rising:
            where = slice(*np.searchsorted(rows, (start, start + size)))
            if where.start < where.stop:
                source = part_pixels(part_file(directory, part), image_size, size)
                np.take(source, rows[where] - start, axis=0, out=faces[where], mode="clip")  # "raise" would copy twice
        else:
            where = np.flatnonzero((rows >= start) & (rows < start + size))
            if len(where):
                faces[where] = part_pixels(part_file(directory, part), image_size, size)[rows[where] - start]
        start += size
    return faces


def part_pixels(path: Path, image_size: Sequence[int], num_rows: int | None = None) -> np.ndarray:
    """(n, H, W) uint8, read-only: the faces of one part, mapped; those of older parts, in many pages, are read.

    InputError where the part is broken, or has other than `num_rows` faces.
    """
    try:
        faces = _part_pixels(path, *image_size)
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise unreadable(path, error) from None
    if num_rows not in (None, len(faces)):
        raise unreadable(path, ValueError(f"it has {len(faces)} rows, the manifest says {num_rows}"))
    return faces


def _part_pixels(path: Path, height: int, width: int) -> np.ndarray:
    with pq.ParquetFile(path) as file:
        place = _payload(path, file.metadata, height * width)
    if place is None:
        (column,) = read_part(path, ["pixels"]).combine_chunks()["pixels"].chunks
        if not pa.types.is_fixed_size_binary(column.type) or column.type.byte_width != height * width:
            raise ValueError(f"column pixels is {column.type}, of faces of {height} × {width}")
        flat = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * height * width :]
        return flat[: len(column) * height * width].reshape(-1, height, width)
    offset, num_bytes = place
    with path.open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(whole, np.uint8, num_bytes, offset).reshape(-1, height, width)


def _payload(path: Path, metadata: pq.FileMetaData, num_bytes: int) -> tuple[int, int] | None:
    """Where in the file the pixels are plain bytes, and how many: (offset, count); None where they are not in one page."""
    if metadata.num_row_groups != 1:
        return None
    group = metadata.row_group(0)
    column = group.column(metadata.schema.names.index("pixels"))  # ValueError where there is none
    expected = group.num_rows * num_bytes
    plain = column.compression == "UNCOMPRESSED" and not column.has_dictionary_page and "PLAIN" in column.encodings
    optional = metadata.schema.column(metadata.schema.names.index("pixels")).max_definition_level > 0
    if not plain or optional or expected == 0:
        return None
    with path.open("rb") as file:
        file.seek(column.data_page_offset)
        header = file.read(HEADER_BYTES)
    if _page_bytes(header) != expected:
        return None
    return column.data_page_offset + column.total_compressed_size - expected, expected


def _page_bytes(header: bytes) -> int | None:
    """compressed_page_size of a v1 data page, from the head of its PageHeader.

    Thrift's compact protocol: fields 1 type, 2 uncompressed size, 3 compressed size, each 0x15 (next field, i32) and a
    zigzag varint (parquet.thrift in apache/parquet-format).
    """
    values, at = [], 0
    for _ in range(3):
        if header[at] != 0x15:
            return None
        value, shift, at = 0, 0, at + 1
        while True:
            value |= (header[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if header[at - 1] < 0x80:
                break
        values.append(value >> 1)  # none is negative
    return values[2] if values[0] == 0 else None
