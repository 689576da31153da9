"""A general list of images: a CSV with the columns path and label, and if wanted split, subject and votes.

    path,label,split,subject,votes
    images/001.jpg,happy,train,anna,happy:7 neutral:3

Paths are relative to the CSV's folder, or to one above it, and name files of the same source; so may absolute ones.
"""

import math
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files
from fersweep.data_pipeline.sources.formats.blendshape_csv import BLENDSHAPE_CSV
from fersweep.data_pipeline.sources.formats.columns import (
    PATH,
    SPLIT,
    SUBJECT,
    VOTES,
    class_name,
    find,
    find_label,
    unread,
)
from fersweep.data_pipeline.sources.formats.csv_files import (
    chosen,
    head,
    inside,
    named_split,
    sound_rows,
    splits_by_name,
)
from fersweep.data_pipeline.sources.formats.fer2013 import is_pixel_table
from fersweep.data_pipeline.sources.formats.reader import MISSING, NO_LABEL, Clue, RawFace, Reader

OTHERS = (SPLIT, SUBJECT, VOTES)


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    splits = splits_by_name(names)
    for member in chosen(files, names):
        table = head(member)
        label_column = find_label(table.columns, table.first)
        columns = [find(table.columns, PATH), label_column, *(find(table.columns, name) for name in OTHERS)]
        num_rows = num_found = 0
        first = ""
        for number, row in sound_rows(member):
            where = f"{member.name} row {number}"
            path, label, split, subject, votes = ("" if index is None else row[index] for index in columns)
            places = _places(files, member.name, path, where)
            image = next((image for place in places if (image := files.find(place)) is not None), None)
            label = class_name(label)
            num_rows, num_found = num_rows + 1, num_found + (image is not None)
            first = first or f"row {number}: '{path}' was looked for as {' and '.join(places)}"
            yield RawFace(
                places[0] if image is None else image.name,
                label,
                b"" if image is None else image,
                named_split(split, where) or splits.get(member.name),
                subject.strip() or None,
                _votes(votes, where),
                drop=MISSING if image is None else None if label else NO_LABEL,
            )
        if num_rows and not num_found:
            raise InputError(
                f"{member.name}: no image of its {num_rows:,} rows is there ({first}): "
                "give the folder that holds both the list and the images"
            )


def _places(files: Files, table: str, written: str, where: str) -> list[str]:
    """Names within the source that a path of `table` may mean: from its folder, and from those above it.

    InputError where it leaves the source.
    """
    path = written.strip()
    root = PurePosixPath(os.path.realpath(files.path))
    for above in (root, PurePosixPath(os.path.abspath(files.path))):
        if path.startswith("/") and PurePosixPath(path).is_relative_to(above):
            return [inside("", str(PurePosixPath(path).relative_to(above)), where)]
    folder: str = posixpath.dirname(table)
    places = [inside(folder, path, where)]
    while folder:
        folder = posixpath.dirname(folder)
        places.append(posixpath.normpath(posixpath.join(folder, path.replace("\\", "/"))))
    if places[-1].startswith(f"{root.name}/"):  # from the folder in which the source's own folder is
        places.append(places[-1].removeprefix(f"{root.name}/"))
    return [place for place in dict.fromkeys(places) if not place.startswith("..")]


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


def _is_list(clue: Clue) -> bool:
    return find(clue.columns, PATH) is not None and find_label(clue.columns, clue.first) is not None


FACES_CSV = Reader(
    kind="image",
    expects="a CSV with the columns path,label (and split, subject, votes) beside the images that it names",
    fits=_is_list,
    claims=lambda clue: _is_list(clue) and not is_pixel_table(clue) and not BLENDSHAPE_CSV.fits(clue),
    read=_read,
    notes=lambda member: unread(*head(member)[:2]),
    listed=True,
    by_split=True,
    beside=True,
)
