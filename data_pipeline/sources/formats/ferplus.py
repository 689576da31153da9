"""FER+: `fer2013new.csv`, ten annotators' votes for each row of FER2013's CSV, which is beside it.

The two are joined by row position: 177 rows of FER+ have no image name. The label is that of the strict majority, as in
the authors' own code (Barsoum et al. 2016, microsoft/FERPlus, ferplus.py, mode "majority"): an emotion with one vote is
taken for a slip and does not count; what then has more than half of the votes is the label. Votes are kept as they are.
"""

import itertools
import posixpath
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member, reading
from fersweep.data_pipeline.sources.formats.columns import find, folded
from fersweep.data_pipeline.sources.formats.csv_files import chosen, split_of, whole_rows
from fersweep.data_pipeline.sources.formats.fer2013 import FER2013_LABELS, read_rows
from fersweep.data_pipeline.sources.formats.reader import Clue, RawFace, Reader

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
COLUMNS = ("Usage", *EMOTIONS, "unknown", "NF")
NO_MAJORITY = "no majority of the votes"
DROPS = {len(EMOTIONS): "voted unknown", len(EMOTIONS) + 1: "voted to be no face"}
PIXELS = ("fer2013.csv", "icml_face_data.csv", "fer2013.csv.zip", "icml_face_data.csv.zip")
BESIDE = ("", "fer2013", "..")  # folders, as seen from that of fer2013new.csv


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
    """FER2013's CSV beside the votes, plain or in a zip of its own."""
    folder = posixpath.dirname(votes_file)
    for place in BESIDE:
        for name in PIXELS:
            path = posixpath.normpath(posixpath.join(folder, place, name))
            if path.startswith("../") or (member := files.find(path)) is None:
                continue
            if not name.endswith(".zip"):
                yield member
                return
            with reading(member.name), member.open() as file, zipfile.ZipFile(file) as archive:
                inner = next((info for info in archive.infolist() if info.filename.endswith(PIXELS[:2])), None)
                if inner is None:
                    raise InputError(f"{member.name} holds no {PIXELS[0]}")
                yield Member(PIXELS[0], inner.file_size, lambda inner=inner: archive.open(inner))
                return
    raise InputError(f"{votes_file} has votes alone: put {PIXELS[0]}, {PIXELS[2]} or {PIXELS[1]} beside it")


def _is_votes(clue: Clue) -> bool:
    return all(find(clue.columns, [folded(column)]) is not None for column in COLUMNS)


FERPLUS = Reader(
    kind="text",
    expects="fer2013new.csv beside fer2013.csv, fer2013.csv.zip or icml_face_data.csv",
    fits=_is_votes,
    read=_read,
    listed=True,
    beside=True,
)
