"""Ready-made blendshapes: a CSV with a column per score and one of labels; MediaPipe is not asked.

    mouthSmileLeft,mouthSmileRight,…,label        or        blend44,blend45,…,emotion

Which columns are scores, blendshape_columns.py says; scores without a column are unknown. Columns split, subject and path
are read, others are not. What labels mean that are numbers, the user says: --map 0=happy.
"""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

import posixpath
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member, reading
from fersweep.data_pipeline.sources.formats.blendshape_columns import LEAST, families, scores
from fersweep.data_pipeline.sources.formats.columns import (
    PATH,
    SPLIT,
    SUBJECT,
    class_name,
    find,
    find_label,
    listed,
    unread,
)
from fersweep.data_pipeline.sources.formats.csv_files import (
    UTF8,
    Head,
    chosen,
    dialect,
    head,
    named_split,
    splits_by_name,
)
from fersweep.data_pipeline.sources.formats.reader import NO_LABEL, Clue, RawFace, Reader
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

BLOCK_BYTES = 2**22
BAD_SCORE = "a score not between 0 and 1"
NO_SCORE = "a score missing or no number"


class _Columns(NamedTuple):
    """Positions in the CSV."""

    scores: dict[int, int]  # index into BLENDSHAPES → column
    label: int
    split: int | None
    subject: int | None
    path: int | None


def _columns(table: Head, where: str) -> _Columns:
    names, label = table.columns, find_label(table.columns, table.first)
    assert label is not None  # or it would not fit
    return _Columns(scores(names, where), label, find(names, SPLIT), find(names, SUBJECT), find(names, PATH))


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    splits = splits_by_name(names)
    for member in chosen(files, names):
        table = head(member)
        columns, split = _columns(table, member.name), splits.get(member.name)
        name = member.name if splits else posixpath.basename(member.name)
        start, num_sound, seen = 0, 0, _Range()
        for batch in _batches(member, table.columns):
            values = _scores(batch, columns)
            for face in _rows(batch, columns, values, name, start, split):
                num_sound += face.drop is None
                yield face
            start += batch.num_rows
            seen = seen if num_sound else seen.with_(values)
        if start and not num_sound and (seen.low < 0 or seen.high > 1):
            in_percent = " (in percent? divide them by 100)" if seen.low >= 0 and 5 < seen.high <= 100 else ""
            raise InputError(
                f"{member.name}: scores must lie between 0 and 1, but go from {seen.low:.4g} to {seen.high:.4g}{in_percent}"
            )


class _Range(NamedTuple):
    """The least and the greatest of scores."""

    low: float = np.inf
    high: float = -np.inf

    def with_(self, scores: np.ndarray) -> "_Range":
        known = scores[np.isfinite(scores)]
        return self if not len(known) else _Range(min(self.low, known.min()), max(self.high, known.max()))


def _batches(member: Member, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Blocks of rows, every cell as bytes: a cell that is no number must not end the file."""
    encoding, separator = dialect(member)
    positions = [str(index) for index in range(len(names))]
    wrong: list[str] = []

    def refuse(row: Any) -> str:
        where = "" if row.number is None else f" row {row.number - 1}"
        wrong.append(f"{where}: {row.actual_columns} columns found, {row.expected_columns} expected ({listed(names)})")
        return "error"

    with reading(member.name), member.open() as file:
        try:
            yield from pyarrow.csv.open_csv(
                file,
                read_options=pyarrow.csv.ReadOptions(
                    column_names=positions,
                    skip_rows=1,
                    block_size=BLOCK_BYTES,
                    encoding="utf8" if encoding == UTF8 else encoding,
                    use_threads=False,
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter=separator, invalid_row_handler=refuse),
                convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(positions, pa.binary())),
            )
        except pa.ArrowInvalid as error:
            why = wrong[0] if wrong else f" is no sound CSV: {str(error).splitlines()[0]}"
            raise InputError(f"{member.name}{why}") from None


def _scores(batch: pa.RecordBatch, columns: _Columns) -> np.ndarray:
    """(N, 52) float32, NaN where there is no column, or no number in it."""
    values = np.full((batch.num_rows, len(BLENDSHAPES)), np.nan, "<f4")
    for index, position in columns.scores.items():
        values[:, index] = _numbers(batch.column(position))
    return values


def _rows(
    batch: pa.RecordBatch, columns: _Columns, values: np.ndarray, name: str, start: int, split: str | None
) -> Iterator[RawFace]:
    known = values[:, list(columns.scores)]
    missing: np.ndarray = np.any(np.isnan(known), axis=1)
    outside: np.ndarray = np.any((known < 0) | (known > 1), axis=1)
    labels, splits, subjects, paths = (
        [""] * batch.num_rows if position is None else [_text(cell) for cell in batch.column(position).to_pylist()]
        for position in (columns.label, columns.split, columns.subject, columns.path)
    )
    data, width = values.tobytes(), values.itemsize * values.shape[1]
    for row in range(batch.num_rows):
        where = f"{name}:{start + row + 1}"
        drop = NO_SCORE if missing[row] else BAD_SCORE if outside[row] else None
        yield RawFace(
            f"{where} {paths[row]}" if paths[row] else where,
            class_name(labels[row]),
            data[row * width : (row + 1) * width],
            named_split(splits[row], where) if splits[row] else split,
            subjects[row] or None,
            drop=drop if labels[row] else NO_LABEL,
        )


def _text(cell: bytes) -> str:
    try:
        return cell.decode().strip()
    except UnicodeDecodeError:
        return cell.decode("latin-1").strip()


def _numbers(cells: pa.Array) -> np.ndarray:
    """(N,) float32; NaN of a cell that is no number."""
    try:
        return pc.cast(pc.cast(cells, pa.string()), pa.float32()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return np.array([_number(cell) for cell in cells.to_pylist()], np.float32)


def _number(cell: bytes) -> float:
    try:
        return float(cell.replace(b",", b"."))  # in a CSV with ";", a fraction may have a comma
    except ValueError:
        return np.nan


def _is_scores(clue: Clue) -> bool:
    labelled = find_label(clue.columns, clue.first) is not None
    return labelled and sum(map(len, families(clue.columns))) >= LEAST


BLENDSHAPE_CSV = Reader(
    kind="scores",
    expects="a CSV of blendshapes, by MediaPipe's names or numbered (bs_00 … bs_51), with a column label or emotion",
    fits=_is_scores,
    read=_read,
    notes=lambda member: unread(*head(member)[:2]),
    listed=True,
    by_split=True,
)
