"""Rows of CSV and text files, streamed; a line longer than any row of faces is refused."""

import csv
import io
import posixpath
from collections.abc import Iterator, Sequence

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member, reading

MAX_LINE_CHARS = 2**20

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "publictest"),
    "test": ("test", "testing", "privatetest"),
}
"""Split → how sources spell it, in lower case."""
_SPLIT_OF = {spelling: split for split, spellings in SPLITS.items() for spelling in spellings}


class NoTable(InputError):
    """The file can be read, but is no table."""


def split_of(name: str) -> str | None:
    """The split of which `name` is a known spelling, in any case; None: it is no known spelling."""
    return _SPLIT_OF.get(name.strip().lower())


def named_split(name: str, where: str) -> str | None:
    """The split that a table names; None where it names none. InputError where there is no such split."""
    if not name.strip():
        return None
    if (split := split_of(name)) is None:
        raise InputError(f"{where}: split is '{name}', expected train, val or test")
    return split


def rows(member: Member) -> Iterator[list[str]]:
    """Rows of a CSV; the header is the first, its names stripped. NoTable where it is none."""
    with reading(member.name), member.open() as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(_lines(text))
        no_header: list[str] = []
        try:
            yield [name.strip() for name in next(reader, no_header)]
            yield from reader
        except (csv.Error, UnicodeDecodeError) as error:
            raise NoTable(f"{member.name} is no CSV, line {reader.line_num + 1}: {error}") from None


def lines(member: Member) -> Iterator[str]:
    """Lines of a text. NoTable where it is none."""
    with reading(member.name), member.open() as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        try:
            yield from _lines(text)
        except (csv.Error, UnicodeDecodeError) as error:
            raise NoTable(f"{member.name} is no text: {error}") from None


def header(member: Member) -> tuple[str, ...]:
    """Column names of a file named as a CSV; empty where it is none."""
    if not member.name.lower().endswith(".csv"):
        return ()
    try:
        return tuple(next(rows(member)))
    except NoTable:
        return ()


def whole_rows(member: Member, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(number from 1, the cells of `columns`) of each row that is not empty. InputError at a row of another length.

    `columns` are found in the header whatever their case; one that it lacks is an empty cell in every row.
    """
    table = rows(member)
    names = next(table)
    folded = [name.lower() for name in names]
    where = [folded.index(column.lower()) if column.lower() in folded else None for column in columns]
    for number, row in enumerate(table, start=1):
        if not row:
            continue
        if len(row) != len(names):
            raise InputError(
                f"{member.name} row {number}: {len(row)} columns found, {len(names)} expected ({','.join(names)})"
            )
        yield number, ["" if index is None else row[index] for index in where]


def inside(folder: str, written: str, where: str) -> str:
    """Name within the source of the file that a list in `folder` writes as `written`. InputError where it leaves it."""
    slashed = written.strip().replace("\\", "/")
    name = posixpath.normpath(posixpath.join(folder, slashed))
    if slashed.startswith("/") or slashed[1:2] == ":" or name.startswith("../") or name in ("..", "."):
        raise InputError(f"{where}: '{written}' is no file of the source; paths are relative to the list's folder")
    return name


def chosen(files: Files, names: Sequence[str]) -> Iterator[Member]:
    """The files of `names`: looked up, or, in a tar, in its order."""
    members = [files.find(name) for name in names] if files.by_name else [None]
    if None in members:  # also where a name was escaped
        return (member for member in files if member.name in names)
    return (member for member in members if member is not None)


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines of `text`, csv.Error at one that is too long: a few bytes of a zip may unpack to it."""
    while line := text.readline(MAX_LINE_CHARS):
        if len(line) == MAX_LINE_CHARS:
            raise csv.Error(f"longer than {MAX_LINE_CHARS:,} characters")
        yield line
