"""All rows of a dataset at a few bytes a face: by them faces are chosen, whose pixels and columns are then read.

    rows = DatasetRows(directory)
    chosen = spread_sample(rows.labels, 24)
    table, faces = rows.take(chosen, ["source"]), rows.pictures(chosen)

Parts are read one after another, so that memory depends on a part's size and not on the dataset's.
"""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fersweep.data_pipeline.dataset.columns import codes, read_rows
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.dataset.parts import open_part
from fersweep.data_pipeline.dataset.pixels import pixels
from fersweep.data_pipeline.vocabulary import LABELS, SPLITS

MAX_SIDE = 96  # px of a face that is looked at; larger ones are shrunk
BATCH_BYTES = 5_000_000  # of pixels at a time
ID_LENGTH = 20  # hexadecimal digits of a face_id: 80 bits, enough to distinguish any number of faces

COLUMNS = (
    "face_id",
    "label",
    "split",
    "fold",
    "detected",
    "duplicate_of",
    "near_duplicate_of",
    "augmentation",
    "subject",
)


class DatasetRows:
    """Arrays over all N rows, the augmented ones included. InputError where the dataset is damaged."""

    def __init__(self, directory: Path):
        self.directory, self.manifest = Path(directory), read_manifest(directory)
        self.parts = self.manifest["parts"]
        self.starts = np.cumsum([0, *(part["num_rows"] for part in self.parts)])
        self.subjects: set[str] = set()
        columns = [self._read(open_part(self.directory, part, COLUMNS)) for part in self.parts]
        arrays = [np.concatenate(column) for column in zip(*columns, strict=True)]
        self.ids, self.labels, self.splits, self.folds = arrays[:4]
        """(N,) the start of each face_id, S20; int8 index into LABELS; int8 index into SPLITS; int8 fold or -1."""
        self.is_detected, self.is_twin, self.is_near, self.is_augmented = arrays[4:]
        """(N,) bool each. A (near) twin is a face that has another one in a split that outranks its own."""

    def _read(self, table: pa.Table) -> list[np.ndarray]:
        self.subjects.update(table["subject"].unique().drop_null().to_pylist())
        return [
            np.array([name[:ID_LENGTH] for name in table["face_id"].to_pylist()], f"S{ID_LENGTH}"),
            codes(table["label"], LABELS).astype(np.int8),
            codes(table["split"], SPLITS).astype(np.int8),
            pc.fill_null(table["fold"], -1).to_numpy(),
            table["detected"].to_numpy(),
            *(table[name].is_valid().to_numpy() for name in ("duplicate_of", "near_duplicate_of", "augmentation")),
        ]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_original(self) -> np.ndarray:
        return ~self.is_augmented

    def take(self, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """`columns` of the given rows (n,), in their order."""
        order = np.argsort(rows, kind="stable")
        tables = [
            table.select(list(columns)) for table in read_rows(self.directory, self.manifest, columns, rows[order])
        ]
        if not tables:
            return open_part(self.directory, self.parts[0], columns).select(list(columns)).slice(0, 0)
        return pa.concat_tables(tables).combine_chunks().take(pa.array(np.argsort(order)))

    def find(self, sources: set[str]) -> dict[str, int]:
        """Rows of the faces that came from the given `source`s, by source; augmented ones do not count."""
        row_of: dict[str, int] = {}
        for start, part in zip(self.starts.tolist(), self.parts, strict=False):
            names = open_part(self.directory, part, ["source"])["source"].to_pylist()
            for row, name in enumerate(names, start):
                if name in sources and not self.is_augmented[row]:
                    row_of.setdefault(name, row)
        return row_of

    @property
    def has_pixels(self) -> bool:
        return self.manifest["image_size"] is not None

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """Faces (n, h, w) uint8 of the given rows (n,), in their order, no side longer than MAX_SIDE."""
        faces = [shrunken for _, shrunken in self.faces(rows)]
        return np.concatenate(faces) if faces else np.zeros((0, 1, 1), np.uint8)

    def faces(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The given rows (n,), a batch at a time, with their faces (b, h, w) uint8, no side longer than MAX_SIDE."""
        assert self.manifest["image_size"] is not None  # has_pixels
        num = max(32, BATCH_BYTES // int(np.prod(self.manifest["image_size"])))
        for start in range(0, len(rows), num):
            batch = rows[start : start + num]
            yield batch, shrunk(pixels(self.directory, batch, self.manifest))


def shrunk(faces: np.ndarray) -> np.ndarray:
    """faces (n, H, W) uint8, shrunk by area averaging until no side is longer than MAX_SIDE."""
    height, width = faces.shape[1:]
    if max(height, width) <= MAX_SIDE:
        return faces
    import cv2

    scale = MAX_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([cv2.resize(face, size, interpolation=cv2.INTER_AREA) for face in faces])
