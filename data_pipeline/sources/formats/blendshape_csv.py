"""Ready-made blendshapes: a CSV with a column per score and one of labels; MediaPipe is not asked.

    mouthSmileLeft,mouthSmileRight,…,label        or        blend44,blend45,…,emotion

Scores are named as MediaPipe names them, or numbered in its order (blend44 is mouthSmileLeft, see vocabulary.BLENDSHAPES);
scores without a column are unknown. Columns split and subject are read, others are not. What labels mean that are numbers,
the user says: --map 0=happy.
"""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member, reading
from fersweep.data_pipeline.sources.formats.csv_files import chosen, header, named_split
from fersweep.data_pipeline.sources.formats.reader import NO_LABEL, Clue, RawFace, Reader
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

LABELS = ("label", "emotion", "class", "expression")
SPLITS = ("split", "usage")
BLOCK_BYTES = 2**22
NUMBERED = re.compile(r"(?:blend|blendshape)[_ ]?(\d+)")
BAD_SCORE = "a score not between 0 and 1"

_INDEX = {name.lower(): index for index, name in enumerate(BLENDSHAPES)}


class _Columns(NamedTuple):
    """Positions in the CSV."""

    scores: dict[int, int]  # index into BLENDSHAPES → column
    label: int
    split: int | None
    subject: int | None


def _index(column: str) -> int | None:
    """Index of the blendshape in a column, None: no blendshape's column; 52 and more are refused by `_columns`."""
    numbered = NUMBERED.fullmatch(column.lower())
    return int(numbered[1]) if numbered else _INDEX.get(column.lower())


def _columns(names: Sequence[str], where: str) -> _Columns:
    folded = [name.lower() for name in names]
    scores: dict[int, int] = {}
    for position, name in enumerate(names):
        if (index := _index(name)) is None:
            continue
        if index >= len(BLENDSHAPES):
            raise InputError(f"{where}: column {name}: blendshapes are numbered from 0 to {len(BLENDSHAPES) - 1}")
        if index in scores:
            raise InputError(f"{where}: columns {names[scores[index]]} and {name} both are {BLENDSHAPES[index]}")
        scores[index] = position
    first = [next((folded.index(name) for name in known if name in folded), None) for known in (LABELS, SPLITS)]
    subject = folded.index("subject") if "subject" in folded else None
    assert first[0] is not None  # or it would not fit
    return _Columns(scores, first[0], first[1], subject)


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    for member in chosen(files, names):
        names_here = header(member)
        columns = _columns(names_here, member.name)
        start = 0
        for batch in _batches(member, len(names_here)):
            yield from _rows(batch, columns, posixpath.basename(member.name), start)
            start += batch.num_rows


def _batches(member: Member, num_columns: int) -> Iterator[pa.RecordBatch]:
    """Blocks of rows, every cell as text: a cell that is no number must not end the file."""
    names = [str(index) for index in range(num_columns)]
    with reading(member.name), member.open() as file:
        try:
            yield from pyarrow.csv.open_csv(
                file,
                read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, block_size=BLOCK_BYTES),
                convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
            )
        except pa.ArrowInvalid as error:
            raise InputError(f"{member.name} is no sound CSV: {str(error).splitlines()[0]}") from None


def _rows(batch: pa.RecordBatch, columns: _Columns, name: str, start: int) -> Iterator[RawFace]:
    scores = np.full((batch.num_rows, len(BLENDSHAPES)), np.nan, "<f4")
    for index, position in columns.scores.items():
        scores[:, index] = _numbers(batch.column(position))
    known = scores[:, list(columns.scores)]
    sound = np.all((known >= 0) & (known <= 1), axis=1)
    labels = [label.strip() for label in batch.column(columns.label).to_pylist()]
    nothing = [""] * batch.num_rows
    splits = nothing if columns.split is None else batch.column(columns.split).to_pylist()
    subjects = nothing if columns.subject is None else batch.column(columns.subject).to_pylist()
    data, width = scores.tobytes(), scores.itemsize * scores.shape[1]
    for row in range(batch.num_rows):
        where = f"{name}:{start + row + 1}"
        drop = None if sound[row] else BAD_SCORE
        yield RawFace(
            where,
            labels[row],
            data[row * width : (row + 1) * width],
            named_split(splits[row], where) if splits[row] else None,
            subjects[row] or None,
            drop=drop if labels[row] else NO_LABEL,
        )


def _numbers(cells: pa.Array) -> np.ndarray:
    """(N,) float32; NaN of a cell that is no number."""
    try:
        return pc.cast(cells, pa.float32()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return np.array([_number(cell) for cell in cells.to_pylist()], np.float32)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _is_scores(clue: Clue) -> bool:
    labelled = any(column.lower() in LABELS for column in clue.columns)
    return labelled and sum(_index(column) is not None for column in clue.columns) >= 2


BLENDSHAPE_CSV = Reader(
    kind="scores",
    expects="a CSV of blendshapes, by MediaPipe's names or numbered (blend0 … blend51), with a column label or emotion",
    fits=_is_scores,
    read=_read,
    listed=True,
)
