"""Faces between the workers and the dataset: what is known of each before splits are settled, in Parquet parts.

Part k holds the results of rows k·P … (k+1)·P of the sources, in their order: a row a face, several where a picture has
several, and a row with `broken` where there is no face to keep. A part is written when its last face has come, so that
an interrupted run continues after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fersweep.data_pipeline.dataset.parts import write_table
from fersweep.data_pipeline.dataset.schema import LANDMARKS_BYTES
from fersweep.data_pipeline.prepare.reading_cache import ID_BYTES
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

SCORES_BYTES = 4 * len(BLENDSHAPES)

KNOWN = [
    pa.field("row", pa.int64()),  # over all sources, in their order
    pa.field("source", pa.string()),
    pa.field("origin", pa.int16()),  # index of the source
    pa.field("label", pa.int8()),  # index into LABELS
    pa.field("split", pa.int8()),  # index into SPLITS as the source has it, -1 where it does not say
    pa.field("subject", pa.string()),
    pa.field("votes", pa.list_(pa.float32())),
]
"""What the source says of a face."""
SEEN = [
    pa.field("number", pa.int32()),  # which of the picture's faces, which augmented copy
    pa.field("of", pa.int32()),  # in the first row of several: how many there are; 0 in the others
    pa.field("broken", pa.string()),  # why there is none
    pa.field("id", pa.binary(ID_BYTES)),
    pa.field("pixels", pa.binary()),
    pa.field("scores", pa.binary(SCORES_BYTES)),  # NaN where no face was found
    pa.field("num_views", pa.int8()),
    pa.field("spread", pa.float32()),
    pa.field("pose", pa.binary(12)),
    pa.field("landmarks", pa.binary(LANDMARKS_BYTES)),
    pa.field("augmentation", pa.string()),
    pa.field("is_whole", pa.bool_()),  # a picture kept whole: see crop.Crops
]
"""What a worker adds."""
STAGED = pa.schema([*KNOWN, *SEEN])


def staged(known: pa.Table, rows: Sequence[int], seen: dict[str, list[Any]]) -> pa.Table:
    """A table of STAGED: what is known of `rows` of a batch, a row as often as it is named, and what was seen."""
    columns = known.select([field.name for field in KNOWN]).take(pa.array(rows, pa.int64()))
    empty = [None] * len(rows)
    for field in SEEN:
        columns = columns.append_column(field, pa.array(seen.get(field.name, empty), field.type))
    return columns


def reading_columns(readings: np.ndarray, with_landmarks: bool) -> dict[str, list[Any]]:
    """READING (N,) as columns of SEEN; pose and landmarks only of faces that MediaPipe found."""
    is_found = readings["num_views"] > 0
    columns: dict[str, list[Any]] = {"scores": [row.tobytes() for row in readings["scores"]]}
    columns["num_views"] = readings["num_views"].tolist()
    columns["spread"] = [
        value if seen else None for value, seen in zip(readings["spread"].tolist(), is_found, strict=True)
    ]
    columns["pose"] = [row.tobytes() if seen else None for row, seen in zip(readings["pose"], is_found, strict=True)]
    if with_landmarks:
        pairs = zip(readings["landmarks"], is_found, strict=True)
        columns["landmarks"] = [row.tobytes() if seen else None for row, seen in pairs]
    return columns


class Stage:
    """Staged parts under `directory`: part k holds the results of the `sizes[k]` rows from k·part_rows on."""

    def __init__(self, directory: Path, sizes: Sequence[int], part_rows: int):
        self.directory, self.sizes, self.part_rows = directory, sizes, part_rows
        self.missing = {number for number, size in enumerate(sizes) if size and not self.path(number).exists()}
        self._waiting: dict[int, list[pa.Table]] = defaultdict(list)
        self._begun, self._expected = dict.fromkeys(self.missing, 0), dict.fromkeys(self.missing, 0)

    def path(self, number: int) -> Path:
        return self.directory / f"part-{number:05d}.parquet"

    @property
    def todo(self) -> int:
        """Rows without a result yet."""
        return sum(self.sizes[number] - self._begun[number] for number in self.missing)

    def add(self, rows: pa.Table) -> None:
        """Results of some rows, in any order, each once. A part is written as soon as it is whole."""
        num_results, parts = rows["of"].to_numpy(), rows["row"].to_numpy() // self.part_rows
        for number in np.unique(parts).tolist():
            mine = parts == number
            self._waiting[number].append(rows.filter(pa.array(mine)))
            self._begun[number] += int((num_results[mine] > 0).sum())
            self._expected[number] += int(num_results[mine].sum())
            arrived = sum(table.num_rows for table in self._waiting[number])
            if self._begun[number] == self.sizes[number] and arrived == self._expected[number]:
                self._write(number)

    def _write(self, number: int) -> None:
        whole = pa.concat_tables(self._waiting.pop(number)).sort_by([("row", "ascending"), ("number", "ascending")])
        write_table(self.path(number), whole.combine_chunks())
        self.missing.discard(number)

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The parts, in order: all columns, or those named."""
        for number in np.flatnonzero(self.sizes).tolist():
            with pq.ParquetFile(self.path(number), memory_map=True) as file:
                yield file.read(columns if columns is None else list(columns))

    def kept(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """(number of the first, faces) of each part, in order, without what is broken. Kept faces are counted from 0."""
        start = 0
        for part in self.parts(None if columns is None else [*columns, "broken"]):
            faces = part.filter(part["broken"].is_null())
            yield start, faces
            start += faces.num_rows
