"""Faces as pixels in a CSV: FER2013 as Kaggle serves it, `emotion,pixels,Usage` (icml_face_data.csv: with blanks before
the names), CK+ in the same columns (ckextended.csv), and what people write like them.

    emotion,pixels,Usage                          label;pixels                      label,pixel0,pixel1,…,pixel2303
    3,70 80 82 …,Training                         Happy;[70, 80, 82, …]             happy,70,80,…,82

Classes are names. Numbers are FER2013's ids only where the table shows that it is FER2013's: by its Usage, or by its
columns and all seven ids. Other numbers are classes that --map must name.
"""

import itertools
import re
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member
from fersweep.data_pipeline.sources.decode import ELIDED, NO_PIXELS, num_pixels, numbers_in, side_of
from fersweep.data_pipeline.sources.formats.columns import (
    PATH,
    PIXELS,
    SPLIT,
    SUBJECT,
    class_name,
    find,
    find_label,
    folded,
    listed,
    numbered,
    unread,
)
from fersweep.data_pipeline.sources.formats.csv_files import Head, chosen, head, named_split, sound_rows, splits_by_name
from fersweep.data_pipeline.sources.formats.reader import NO_LABEL, Clue, RawFace, Reader

FER2013_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # ids 0–6
PUBLISHED = {"train": 28_709, "val": 3_589, "test": 3_589}
"""Split → rows, as Kaggle has them."""
CKEXTENDED_LABELS = (*FER2013_LABELS, "contempt")
OFFICIAL = ("training", "publictest", "privatetest")
PREFIXES = ("pixel", "pixels", "pix", "px", "p", "")
MAYBE_PIXELS = (*PATH, "face", "picture", "data")  # columns of paths, or of pixels: the first row says
LEAST = 64  # pixels of a face: 8×8
MOST_NAMES = 100  # rows whose classes are no numbers: then none is
_NEGATIVE = re.compile(r"(?<![eE])-")


class Columns(NamedTuple):
    """Positions in the CSV."""

    label: int
    pixels: list[int]
    """One with all of a face's pixels, or one a pixel, in order."""
    split: int | None
    subject: int | None

    @property
    def spread(self) -> int | None:
        """See `sound_rows`."""
        return self.pixels[0] if len(self.pixels) == 1 else None

    def pixels_of(self, row: list[str]) -> str:
        return " ".join([row[position] for position in self.pixels])


def columns_of(table: Head | Clue) -> Columns | None:
    """None: it is no table of pixels."""
    label, pixels = find_label(table.columns, table.first), _pixel_columns(table)
    if label is None or not pixels:
        return None
    return Columns(label, pixels, find(table.columns, SPLIT), find(table.columns, SUBJECT))


def _pixel_columns(table: Head | Clue) -> list[int]:
    if (position := find(table.columns, PIXELS)) is not None:
        return [position]
    for prefix, family in numbered(table.columns).items():
        numbers = [number for number, _ in sorted(family)]
        begin, count = numbers[0], len(numbers)
        if prefix in PREFIXES and count >= LEAST and begin < 2 and numbers == list(range(begin, begin + count)):
            return [position for _, position in sorted(family)]
    for position, (column, cell) in enumerate(zip(table.columns, table.first, strict=False)):
        if folded(column) in MAYBE_PIXELS and num_pixels(cell) >= LEAST:
            return [position]
    return []


def read_rows(member: Member, labels: tuple[str, ...]) -> Iterator[RawFace]:
    """Rows of one CSV: pixels as text. InputError at the first that is not like the others.

    labels: by their ids, where the classes are numbers.
    """
    table, name = head(member), PurePosixPath(member.name).name
    columns = columns_of(table)
    if columns is None:
        raise InputError(
            table.problem or f"{member.name}: expected columns emotion and pixels, found {listed(table.columns)}"
        )
    by_id = labels if labels == CKEXTENDED_LABELS or _has_fer2013_ids(member, table, columns) else ()
    emotion = table.columns[columns.label]
    official, expected = _is_official(table, columns), 0
    for number, row in sound_rows(member, columns.spread):
        where = f"{name} row {number}"
        pixels = columns.pixels_of(row)
        if pixels.count(" ") + 1 != expected:  # also where blanks are doubled
            found = num_pixels(pixels)
            expected = expected or (found and _checked(found, pixels, where))
            if found and found != expected:
                raise InputError(f"{where}: {found} pixels found, {expected} expected, as in the first row")
        label = class_name(row[columns.label])
        if by_id and label:
            label = _named(label, by_id, f"{where}: {emotion}")
        split = None
        if columns.split is not None:
            split = named_split(row[columns.split], where, usage := table.columns[columns.split])
            if split is None and official:
                raise InputError(f"{where}: {usage} is empty, expected Training, PublicTest or PrivateTest")
        subject = None if columns.subject is None else row[columns.subject].strip() or None
        drop = NO_LABEL if not label else NO_PIXELS if not pixels.strip() else None
        yield RawFace(f"{name}:{number}", label, pixels.encode(), split, subject, drop=drop)


def _checked(found: int, pixels: str, where: str) -> int:
    """`found`, the count of the first row's pixels, which is that of all rows. InputError where it is of no face."""
    if found == 1 and not pixels.strip().isdecimal():
        raise InputError(f"{where}: pixels are '{pixels[:40]}', expected numbers separated by blanks")
    if "..." in pixels:
        raise InputError(f"{where}: {ELIDED}; write all of them, as ' '.join(map(str, pixels.ravel()))")
    if not side_of(found):
        raise InputError(f"{where}: {found} pixels are no square face, gray or in three channels (48×48 is 2304)")
    if _is_rgba(pixels):
        raise InputError(
            f"{where}: four numbers a pixel, the last always 255 (RGBA?), expected one (gray) or three (RGB)"
        )
    if "." in pixels and _NEGATIVE.search(pixels):
        raise InputError(f"{where}: pixels lie below 0 (standardised?), expected 0 to 255, or 0 to 1")
    return found


def _is_rgba(pixels: str) -> bool:
    opaque = set(numbers_in(pixels)[3::4])
    return opaque <= {"255", "255.0", "1.0"} and len(opaque) == 1 and len(set(numbers_in(pixels))) > 1


def _id(cell: str) -> int | None:
    """3 of "3" and "3.0"; None: it is no id."""
    whole = class_name(cell)
    return int(whole) if whole.isascii() and whole.isdigit() and len(whole) < 4 else None


def _named(cell: str, labels: tuple[str, ...], where: str) -> str:
    """The class of a cell that holds an id, or a word. InputError where it is neither."""
    number = _id(cell)
    if number is None and any(map(str.isalpha, cell)):
        return cell
    if number is None or number >= len(labels):
        ckplus = "; CK+ in these columns has 7 for contempt: --format ckextended" if number == 7 else ""
        last = len(labels) - 1
        raise InputError(f"{where} is '{cell}', expected 0 (angry) to {last} ({labels[last]}) or a name{ckplus}")
    return labels[number]


def _has_fer2013_ids(member: Member, table: Head, columns: Columns) -> bool:
    """Are the numbers among its classes in FER2013's order?"""
    if _is_official(table, columns):
        return True
    if [folded(table.columns[position]) for position in (columns.label, columns.pixels[0])] != ["emotion", "pixels"]:
        return False
    missing: set[int | None] = set(range(len(FER2013_LABELS)))
    for number, row in sound_rows(member, columns.pixels[0]):
        missing.discard(_id(row[columns.label]))
        if not missing or (number > MOST_NAMES and len(missing) == len(FER2013_LABELS)):
            break
    return not missing


def _is_official(table: Head, columns: Columns) -> bool:
    """Does its Usage say that it is FER2013?"""
    if columns.split is None:
        return False
    surplus = len(table.first) - len(table.columns) if columns.split > columns.pixels[-1] else 0  # see `spread`
    return "".join(table.first[columns.split + surplus :][:1]).strip().lower() in OFFICIAL


def _notes(member: Member) -> Iterator[str]:
    table = head(member)
    columns = columns_of(table)
    if columns is None:
        return
    for _, row in itertools.islice(sound_rows(member, columns.spread), 1):
        count = num_pixels(columns.pixels_of(row))
        side = side_of(count)
        if side and count != side * side:
            yield f"pixels are read as {side}×{side}×3, red, green and blue of a pixel side by side; gray is their luminance"
    if not _is_official(table, columns) and _has_fer2013_ids(member, table, columns):
        order = ", ".join(f"{number} {label}" for number, label in enumerate(FER2013_LABELS))
        yield f"{table.columns[columns.label]} is read as FER2013's ids: {order}; if they are others, write names"
    yield from unread(table.columns, table.first)


def _read(files: Files, names: tuple[str, ...], *, labels: tuple[str, ...]) -> Iterator[RawFace]:
    splits = splits_by_name(names)
    for member in chosen(files, names):
        for face in read_rows(member, labels):
            if splits:
                face = face._replace(
                    source=f"{member.name}:{face.source.rpartition(':')[2]}", split=face.split or splits[member.name]
                )
            yield face


def is_pixel_table(clue: Clue) -> bool:
    return columns_of(clue) is not None


def _is_ckextended(clue: Clue) -> bool:
    return is_pixel_table(clue) and PurePosixPath(clue.name).name.lower() == "ckextended.csv"


FER2013_CSV = Reader(
    kind="text",
    expects="a CSV with the columns emotion and pixels, and perhaps Usage",
    fits=is_pixel_table,
    claims=lambda clue: is_pixel_table(clue) and not _is_ckextended(clue),
    read=partial(_read, labels=FER2013_LABELS),
    notes=_notes,
    official=PUBLISHED,
    listed=True,
    by_split=True,
)
CKEXTENDED = Reader(
    kind="text",
    expects="ckextended.csv with the columns emotion,pixels,Usage",
    fits=is_pixel_table,
    claims=_is_ckextended,
    read=partial(_read, labels=CKEXTENDED_LABELS),
    listed=True,
    warning="its splits are not by person: the same people are in train, val and test, so scores on it flatter",
)
