"""FER+: `fer2013new.csv`, ten annotators' votes for each row of FER2013's CSV, which is beside it.

The two are joined by row position: 177 rows of FER+ have no image name. The label is that of the strict majority, as in
the authors' own code (Barsoum et al. 2016, microsoft/FERPlus, ferplus.py, mode "majority"): an emotion with one vote is
taken for a slip and does not count; what then has more than half of the votes is the label. Votes are kept as they are.
"""

import itertools
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member
from fersweep.data_pipeline.sources.formats.columns import find, folded
from fersweep.data_pipeline.sources.formats.csv_files import chosen, whole_rows
from fersweep.data_pipeline.sources.formats.fer2013 import FER2013_LABELS, PUBLISHED, read_rows
from fersweep.data_pipeline.sources.formats.reader import Clue, RawFace, Reader
from fersweep.data_pipeline.sources.opening import archive_in
from fersweep.data_pipeline.sources.split_names import split_of

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
COLUMNS = ("Usage", *EMOTIONS, "unknown", "NF")
NO_MAJORITY = "no majority of the votes"
DROPS = {len(EMOTIONS): "voted unknown", len(EMOTIONS) + 1: "voted to be no face"}
PIXELS = ("fer2013.csv", "icml_face_data.csv")
PACKED = (".csv.zip", ".csv.gz", ".csv.bz2", ".csv.xz", ".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")
BESIDE = ("", "fer2013", "data", "..")  # folders, as seen from that of fer2013new.csv


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    _refuse_no_lookup(files, names[0])
    for votes_file in chosen(files, names):
        with _pixels(files, votes_file.name) as pixels_file:
            both = f"{votes_file.name} and {pixels_file.name} do not belong together"
            faces = read_rows(pixels_file, FER2013_LABELS)
            for face, row in itertools.zip_longest(faces, whole_rows(votes_file, COLUMNS)):
                if face is None or row is None:
                    raise InputError(f"{both}: the {'first' if face is None else 'second'} has more rows")
                number, (usage, *cells) = row
                if face.split is not None and split_of(usage) != face.split:
                    raise InputError(
                        f"{both}: row {number} is {usage or 'nothing'} in the one, {face.split} in the other"
                    )
                votes = _counts(cells, f"{votes_file.name} row {number}")
                top, drop = _majority(votes)
                label = EMOTIONS[top] if drop is None else ""
                yield face._replace(
                    split=split_of(usage), label=label, votes=dict(zip(EMOTIONS, votes, strict=False)), drop=drop
                )


def _counts(cells: list[str], where: str) -> list[int]:
    if not all(cell.strip().isdecimal() for cell in cells):
        raise InputError(f"{where}: votes are '{','.join(cells)}', expected ten whole numbers")
    return [int(cell) for cell in cells]


def _majority(votes: list[int]) -> tuple[int, str | None]:
    """(column with the most votes, why the row is dropped or None)."""
    counted = [count if count > 1 else 0 for count in votes]
    top = max(range(len(counted)), key=counted.__getitem__)
    if 2 * counted[top] <= sum(counted):
        return top, NO_MAJORITY
    return top, DROPS.get(top)


def _refuse_no_lookup(files: Files, name: str) -> None:
    files.find(name)  # a tar says so itself


@contextmanager
def _pixels(files: Files, votes_file: str) -> Iterator[Member]:
    """FER2013's CSV beside the votes, plain or packed."""
    folder = posixpath.dirname(votes_file)
    packed = [name.removesuffix(".csv") + suffix for name in PIXELS for suffix in PACKED]
    for place, name in itertools.product(BESIDE, [*PIXELS, *packed]):
        path = posixpath.normpath(posixpath.join(folder, place, name))
        member = None if path.startswith("../") else files.find(path)
        if member is None:
            continue
        if name in PIXELS:
            yield member
            return
        with archive_in(member) as archive:
            for file in archive or ():
                if posixpath.basename(file.name) in PIXELS:
                    yield file
                    return
        raise InputError(f"{member.name} holds no {' or '.join(PIXELS)}")
    raise InputError(
        f"{votes_file} has votes alone: put {' or '.join(PIXELS)} beside it, plain or packed (fer2013{', '.join(PACKED)})"
    )


def _is_votes(clue: Clue) -> bool:
    return all(find(clue.columns, [folded(column)]) is not None for column in COLUMNS)


FERPLUS = Reader(
    kind="text",
    expects="fer2013new.csv beside fer2013.csv or icml_face_data.csv, plain or packed (fer2013.tar.gz, fer2013.csv.zip)",
    fits=_is_votes,
    read=_read,
    reads=lambda name: posixpath.basename(name).startswith(tuple(name.removesuffix(".csv") for name in PIXELS)),
    official=PUBLISHED,
    listed=True,
    beside=True,
)
