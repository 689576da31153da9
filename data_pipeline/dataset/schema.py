"""The dataset on disk: `faces/part-*.parquet` (one row a face) and `manifest.json`, which is written last.

A directory without a manifest is not a dataset; parts are checked against it whenever they are opened.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fersweep.data_pipeline.vocabulary import BLENDSHAPES

SCHEMA_VERSION = 1
LANDMARKS_BYTES = 478 * 3 * 2  # (478, 3) float16
_NAME = pa.dictionary(pa.int32(), pa.string())
_FIELDS = [
    pa.field("face_id", pa.string(), nullable=False),  # sha256 of the pixels (of the scores, where there are none)
    pa.field("source", pa.string(), nullable=False),
    pa.field("split", _NAME, nullable=False),
    pa.field("label", _NAME, nullable=False),
    pa.field("votes", pa.list_(pa.float32())),  # over LABELS; fixed-size lists with nulls break Arrow's reader
    pa.field("detected", pa.bool_(), nullable=False),
    *(pa.field(blendshape, pa.float32()) for blendshape in BLENDSHAPES),
    pa.field("duplicate_of", pa.string()),  # source of the twin's first holder in a split that outranks this
    pa.field("augmentation", pa.string()),
]
ADDED_FIELDS = [
    pa.field("origin", _NAME),  # which of the dataset's sources
    pa.field("subject", pa.string()),  # whose face, where the source says so
    pa.field("fold", pa.int8()),
    pa.field("near_duplicate_of", pa.string()),  # like duplicate_of, of nearly the same pixels
    pa.field("num_views", pa.int8()),  # in which MediaPipe found the face
    pa.field("spread", pa.float32()),  # of the scores over the views: root mean square of their deviations
    *(pa.field(angle, pa.float32()) for angle in ("yaw", "pitch", "roll")),  # degrees, see landmarker.Reading
    pa.field("landmarks", pa.binary(LANDMARKS_BYTES)),  # (478, 3) float16, see landmarker.Reading
]
"""Columns that datasets made before them lack; they read as nulls."""
ADDED = {field.name for field in ADDED_FIELDS}
MOST_TIMES, SMALL_BYTES = 64, 64 * 2**20  # how many times larger a part may become in memory; what is let pass


def arrow_schema(image_size: Sequence[int] | None) -> pa.Schema:
    """Columns of a part file for faces of `image_size` (H, W) pixels; None: a dataset that has no pixels."""
    fields = [*_FIELDS, *ADDED_FIELDS]
    if image_size is not None:  # gray uint8, row-major; one data page a part, so that it can be mapped into memory
        fields.insert(5, pa.field("pixels", pa.binary(image_size[0] * image_size[1]), nullable=False))
    return pa.schema(fields)


def check_claims(file: pq.ParquetFile, num_bytes: int) -> None:
    """Raises ArrowInvalid where a part of `num_bytes` says that it has more than can be in it: each row has a name of its
    own, and what is stored is not compressed much. Before memory is taken for it.
    """
    num_rows, names = file.metadata.num_rows, file.schema_arrow.names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise pa.ArrowInvalid(f"column {twice[0]} is there twice")
    widths = [field.type.byte_width for field in file.schema_arrow if pa.types.is_fixed_size_binary(field.type)]
    row_bytes = sum(widths) + 4 * len(file.schema_arrow)
    if not 0 <= num_rows <= num_bytes or num_rows * row_bytes > MOST_TIMES * num_bytes + SMALL_BYTES:
        raise pa.ArrowInvalid(
            f"it says that it has {num_rows} rows of {row_bytes} bytes, but it is only {num_bytes} bytes"
        )


def check_table(table: pa.Table, columns: Sequence[str] | None, num_rows: int) -> None:
    """Raises ArrowInvalid unless a part's table has `columns` (None: all), of the types of `arrow_schema`, and `num_rows`."""
    if table.num_rows != num_rows:
        raise pa.ArrowInvalid(f"it has {table.num_rows} rows, the manifest says {num_rows}")
    known = {field.name: field for field in (*_FIELDS, *ADDED_FIELDS)}
    names = [name for name in known if name not in ADDED] if columns is None else list(columns)
    for name in dict.fromkeys([*names, *table.column_names]):
        if table.column_names.count(name) != 1:
            raise pa.ArrowInvalid(f"column {name} is {'missing' if name not in table.column_names else 'there twice'}")
        column = table[name]
        if name == "pixels":
            if not pa.types.is_fixed_size_binary(column.type):
                raise pa.ArrowInvalid(f"column {name} is {column.type}")
        elif name in known and column.type != known[name].type:
            raise pa.ArrowInvalid(f"column {name} is {column.type}, expected {known[name].type}")
        if column.null_count and (name == "pixels" or (name in known and not known[name].nullable)):
            raise pa.ArrowInvalid(f"column {name} has nulls")
        column.validate(full=True)


def face_id(face: np.ndarray) -> str:
    """Name of a face: sha256 (hex) of its (H, W) uint8 pixels, or of its (52,) float32 scores where it has no pixels.

    The same pixels have the same name everywhere.
    """
    return hashlib.sha256(np.ascontiguousarray(face).tobytes()).hexdigest()


def make_rows(
    image_size: tuple[int, int] | None,
    *,
    blendshapes: np.ndarray,
    source: Sequence[str],
    split: Sequence[str],
    label: Sequence[str],
    duplicate_of: Sequence[str | None],
    pixels: np.ndarray | None = None,
    landmarks: np.ndarray | None = None,
    **others: Sequence[Any],
) -> pa.Table:
    """Rows of a part.

    Args:
        blendshapes: (N, 52) float32, a row of NaN where no face was found; a NaN in a row: the source lacks this score.
        pixels: (N, H, W) uint8; None if and only if `image_size` is.
        landmarks: (N, 478, 3) float, rows without a face are left out.
        others: columns of `arrow_schema` of N values each; those not given are null.
    """
    schema = arrow_schema(image_size)
    missing = np.isnan(blendshapes)
    detected: list[bool] = (~np.all(missing, axis=1)).tolist()
    faces = blendshapes if pixels is None else pixels
    columns: dict[str, Any] = {
        "face_id": [face_id(face) for face in faces],
        "source": source,
        "split": split,
        "label": label,
        "pixels": None if pixels is None else [face.tobytes() for face in pixels],
        "detected": detected,
        "duplicate_of": duplicate_of,
        **others,
    }
    if landmarks is not None:
        halves = landmarks.astype(np.float16)
        pairs = zip(halves, detected, strict=True)
        columns["landmarks"] = [points.tobytes() if is_detected else None for points, is_detected in pairs]
    for index, blendshape in enumerate(BLENDSHAPES):
        columns[blendshape] = pa.array(blendshapes[:, index], mask=missing[:, index], type=pa.float32())
    empty = [None] * len(blendshapes)
    return pa.table([pa.array(columns.get(field.name, empty), type=field.type) for field in schema], schema=schema)
