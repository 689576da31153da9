"""Encoded faces in batches: from a source, or chosen from what is staged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fersweep.data_pipeline.prepare.staging import KNOWN, Stage
from fersweep.data_pipeline.sources.decode import Face
from fersweep.data_pipeline.sources.source import Source
from fersweep.data_pipeline.vocabulary import LABELS, SPLITS

BATCH_ROWS = 256  # faces a worker takes at a time, fewer where there are few


@dataclass(frozen=True)
class Sources:
    """Faces of the sources that belong to `parts`, still encoded, in tables of `batch_rows`."""

    sources: Sequence[Source]
    parts: set[int]
    part_rows: int
    batch_rows: int = BATCH_ROWS

    @property
    def mean_bytes(self) -> int:
        """Of an encoded face: the mean of the first ones."""
        first = list(itertools.islice(self._faces(), 64))
        return max(sum(len(face.data) for _, _, face in first) // max(len(first), 1), 64)

    def _faces(self) -> Iterator[tuple[int, int, Face]]:
        row = 0
        for origin, source in enumerate(self.sources):
            for face in source.faces():
                if row // self.part_rows in self.parts:
                    yield row, origin, face
                row += 1

    def __call__(self) -> Iterator[pa.Table]:
        labels, splits = ({name: index for index, name in enumerate(names)} for names in (LABELS, SPLITS))
        wanted = self._faces() if self.parts else iter(())
        while rows := list(itertools.islice(wanted, self.batch_rows)):
            yield encoded(rows, labels, splits)


@dataclass(frozen=True)
class Chosen:
    """Staged faces `rows` (kept faces are counted, in order) that belong to `parts`, with the id and pixels of each."""

    stage: Stage
    rows: np.ndarray
    parts: set[int]
    batch_rows: int = BATCH_ROWS

    @property
    def mean_bytes(self) -> int:
        return next(self.stage.parts(["pixels"])).slice(0, 64)["pixels"].nbytes // 64 or 64

    def __call__(self) -> Iterator[pa.Table]:
        wanted = self.rows[np.isin(self.rows // self.stage.part_rows, list(self.parts))]
        for start, faces in self.stage.kept([*(field.name for field in KNOWN), "id", "pixels"]):
            mine = wanted[(wanted >= start) & (wanted < start + faces.num_rows)]
            rows = faces.take(pa.array(mine - start, pa.int64()))
            rows = rows.set_column(0, "row", pa.array(mine, pa.int64()))
            for offset in range(0, len(mine), self.batch_rows):
                yield rows.slice(offset, self.batch_rows)


def encoded(rows: list[tuple[int, int, Face]], labels: dict[str, int], splits: dict[str, int]) -> pa.Table:
    """(row, origin, face) as a batch for an Extractor."""
    faces = [face for _, _, face in rows]
    return pa.table(
        {
            "row": pa.array([row for row, _, _ in rows], pa.int64()),
            "source": pa.array([face.source for face in faces], pa.string()),
            "origin": pa.array([origin for _, origin, _ in rows], pa.int16()),
            "label": pa.array([labels[face.label] for face in faces], pa.int8()),
            "split": pa.array([-1 if face.split is None else splits[face.split] for face in faces], pa.int8()),
            "subject": pa.array([face.subject for face in faces], pa.string()),
            "votes": pa.array([face.votes for face in faces], pa.list_(pa.float32())),
            "data": pa.array([face.data for face in faces], pa.large_binary()),
            "kind": pa.array([face.kind for face in faces], pa.string()),
            "box": pa.array([face.box for face in faces], pa.list_(pa.int32())),
        }
    )
