"""A general list of images: a CSV with the columns path and label, and if wanted split, subject and votes.

    path,label,split,subject,votes
    images/001.jpg,happy,train,anna,happy:7 neutral:3

Paths are relative to the CSV's folder and name files of the same source.
"""

import math
import posixpath
import re
from collections.abc import Iterator

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files
from fersweep.data_pipeline.sources.formats.csv_files import chosen, inside, named_split, whole_rows
from fersweep.data_pipeline.sources.formats.reader import MISSING, NO_LABEL, RawFace, Reader

COLUMNS = ("path", "label", "split", "subject", "votes")


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    for member in chosen(files, names):
        folder = posixpath.dirname(member.name)
        for number, (path, label, split, subject, votes) in whole_rows(member, COLUMNS):
            where = f"{member.name} row {number}"
            place = inside(folder, path, where)
            image = files.find(place)
            yield RawFace(
                place,
                label.strip(),
                b"" if image is None else image,
                named_split(split, where),
                subject.strip() or None,
                _votes(votes, where),
                drop=MISSING if image is None else None if label.strip() else NO_LABEL,
            )


def _votes(written: str, where: str) -> dict[str, float] | None:
    """ "happy:7 sad:3" → {"happy": 7.0, "sad": 3.0}."""
    votes: dict[str, float] = {}
    for pair in re.split(r"[\s,;]+", written.strip()):
        name, _, count = pair.rpartition(":")
        try:
            number = float(count)
        except ValueError:
            number = math.nan
        if pair and not (name and 0 <= number < math.inf):
            raise InputError(f"{where}: votes are '{written}', expected some like 'happy:7 sad:3'")
        if pair:
            votes[name] = votes.get(name, 0.0) + number
    return votes or None


FACES_CSV = Reader(
    kind="image",
    expects="a CSV with the columns path,label (and split, subject, votes) beside the images that it names",
    fits=lambda clue: {"path", "label"} <= {column.lower() for column in clue.columns},
    read=_read,
    listed=True,
    beside=True,
)
