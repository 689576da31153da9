"""Rows of CSV and text files, streamed, as people write them: separated by a comma, ";", tab or "|"; in UTF-8, UTF-16
or Latin-1. A line longer than any row of faces is refused."""

import csv
import io
import itertools
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NamedTuple

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member, reading
from fersweep.data_pipeline.sources.formats.columns import find, folded, listed
from fersweep.data_pipeline.sources.split_names import split_of

MAX_LINE_CHARS = 2**23  # a face of 512×512×3 pixels takes 3 million
MAX_COLUMNS = 10**6
SEPARATORS = ",;\t|"
SUFFIXES = (".csv", ".tsv", ".txt")
UTF8 = "utf-8-sig"
ENCODINGS = ((b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # by their first bytes


class NoTable(InputError):
    """The file can be read, but is no table."""


class Head(NamedTuple):
    """What the begin of a file says."""

    columns: tuple[str, ...] = ()
    """Stripped; empty of what is no table."""
    first: tuple[str, ...] = ()
    """Cells of the first row."""
    problem: str = ""
    """Why it is no table."""


def named_split(name: str, where: str, column: str = "split") -> str | None:
    """The split that a table names; None where it names none. InputError where there is no such split."""
    if not name.strip():
        return None
    if (split := split_of(name)) is None:
        raise InputError(f"{where}: {column} is '{name}', expected train, val or test")
    return split


def splits_by_name(lists: Sequence[str]) -> dict[str, str]:
    """List → split, where each of several is named by one of its own: train.csv and test.csv, or train/a.csv and test/a.csv.

    Empty where they are not.
    """
    splits = {name: _split_in(PurePosixPath(name).stem) or _split_in(PurePosixPath(name).parent.name) for name in lists}
    found = {name: split for name, split in splits.items() if split is not None}
    apart = len(set(found.values())) == len(found) == len(lists) > 1
    return found if apart and "train" in found.values() else {}


def _split_in(name: str) -> str | None:
    """The one split that a word of `name` is: val of `fer_val_2`."""
    splits = {split for word in re.findall("[a-z]+", name.lower()) if (split := split_of(word)) is not None}
    return splits.pop() if len(splits) == 1 else None


def is_table(name: str) -> bool:
    """Is it named as what may be a CSV?"""
    return name.lower().endswith(SUFFIXES)


def rows(member: Member) -> Iterator[list[str]]:
    """Rows of a CSV; the header is the first, its names stripped. NoTable where it is none."""
    csv.field_size_limit(MAX_LINE_CHARS)  # the default is less than a face of 224×224
    with reading(member.name), _opened(member, newline="") as (text, _):
        every_line = _lines(text)
        number = 0
        try:
            first = next(every_line, "\n")
            for row in csv.reader(itertools.chain([first], every_line), delimiter=_separator(first)):
                if len(row) > MAX_COLUMNS:
                    raise csv.Error(f"more than {MAX_COLUMNS:,} columns")
                yield row if number else [name.strip() for name in row]
                number += 1
        except (csv.Error, UnicodeError) as error:
            where = f"row {number}" if number else "header"
            raise NoTable(f"{member.name} is no CSV, {where}: {_why(error)}") from None


def lines(member: Member) -> Iterator[str]:
    """Lines of a text. NoTable where it is none."""
    with reading(member.name), _opened(member, newline=None) as (text, _):
        try:
            yield from _lines(text)
        except (csv.Error, UnicodeError) as error:
            raise NoTable(f"{member.name} is no text: {_why(error)}") from None


def head(member: Member) -> Head:
    """The begin of a file that is named as a CSV; empty of any other."""
    if not is_table(member.name):
        return Head()
    table = rows(member)
    try:
        columns = tuple(next(table))
    except NoTable as error:
        return Head(problem=str(error))
    try:
        return Head(columns, tuple(next(table, ())))
    except InputError as error:  # where the rest of the file is missing, its container says so itself
        return Head(columns, problem=str(error))


def dialect(member: Member) -> tuple[str, str]:
    """(encoding, separator) of a CSV, for other readers of CSVs."""
    with reading(member.name), _opened(member, newline="") as (text, encoding):
        return encoding, _separator(next(_lines(text), ""))


def sound_rows(member: Member, spread: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """(number from 1, cells) of each row that is not empty. InputError at a row of another length than the header.

    spread: the column whose numbers are separated as the columns are; its cell gets them separated by blanks.
    """
    table = rows(member)
    names = next(table)
    for number, row in enumerate(table, start=1):
        if len(row) != len(names):
            if spread is not None and len(row) > len(names) and " " not in row[spread].strip():
                end = len(row) - (len(names) - spread - 1)
                row[spread:end] = [" ".join(row[spread:end])]
            while len(row) > len(names) and not row[-1].strip():  # separators at the row's end
                row.pop()
            if not row:
                continue
            if len(row) != len(names):
                raise InputError(
                    f"{member.name} row {number}: {len(row)} columns found, {len(names)} expected ({listed(names)})"
                )
        if any(row):
            yield number, row


def whole_rows(member: Member, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(number from 1, the cells of `columns`) of each row of `sound_rows`; a column that is not there is empty."""
    names = head(member).columns
    where = [find(names, [folded(column)]) for column in columns]
    for number, row in sound_rows(member):
        yield number, ["" if index is None else row[index] for index in where]


def inside(folder: str, written: str, where: str) -> str:
    """Name within the source of the file that a list in `folder` writes as `written`. InputError where it leaves it."""
    slashed = written.strip().replace("\\", "/")
    name = posixpath.normpath(posixpath.join(folder, slashed))
    if slashed.startswith("/") or slashed[1:2] == ":" or name.startswith("../") or name in ("..", "."):
        raise InputError(
            f"{where}: '{written}' is no file of the source; paths are relative to the list's folder "
            "(give the folder that holds both the list and the images)"
        )
    return name


def chosen(files: Files, names: Sequence[str]) -> Iterator[Member]:
    """The files of `names`: looked up, or, in a tar, in its order."""
    members = [files.find(name) for name in names] if files.by_name else [None]
    if None in members:  # also where a name was escaped
        return (member for member in files if member.name in names)
    return (member for member in members if member is not None)


@contextmanager
def _opened(member: Member, newline: str | None) -> Iterator[tuple[io.TextIOWrapper, str]]:
    """(text, its encoding). Bytes that are no UTF-8 come out as lone surrogates, for `_lines`."""
    with member.open() as file:
        begin = file.read(4)
        file.seek(0)
        encoding = next((name for mark, name in ENCODINGS if begin.startswith(mark)), UTF8)
        if begin[1:2] == b"\0":  # UTF-16 without a mark: the first character is a letter of a column's name
            encoding = "utf-16-le"
        elif begin[:1] == b"\0":
            encoding = "utf-16-be"
        errors = "surrogateescape" if encoding == UTF8 else "strict"
        with io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=newline) as text:
            yield text, encoding


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines of `text`, csv.Error at one that is too long: a few bytes of a zip may unpack to it.

    A line that is no UTF-8 is taken for Latin-1.
    """
    while line := text.readline(MAX_LINE_CHARS):
        if len(line) == MAX_LINE_CHARS:
            raise csv.Error(f"a line longer than {MAX_LINE_CHARS:,} characters")
        if not line.isascii():
            try:
                line.encode()
            except UnicodeEncodeError:
                line = line.encode("utf-8", "surrogateescape").decode("latin-1")
        yield line


def _separator(line: str) -> str:
    """That of SEPARATORS which cuts the header into the most columns."""
    return max(SEPARATORS, key=re.sub('"[^"]*"', "", line).count)


def _why(error: csv.Error | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "it begins like UTF-16, but is none"
    if "field larger" in str(error):
        return f"a quote that does not end, or a cell of more than {MAX_LINE_CHARS:,} characters"
    return str(error)
