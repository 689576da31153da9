"""What an own reader's `read(files)` is given: the files of a source, by name, be it a folder, a zip, a tar or one file.

    for file in files.pictures():                    # or: for file in files
        yield {"face": file, "label": file.path.parent.name}
    for row in files.table("annotations.csv"):       # {"file": "1.png", "emotion": "happy"}
        yield {"face": files["images/" + row["file"]], "label": row["emotion"]}
    names = json.loads(files["names.json"].read())
    arrays = numpy.load(files.path)                  # the source itself, for libraries that open it

Names have "/" between folders. A picture that is yielded is read when it is needed.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn

from fersweep.common.errors import InputError, hint
from fersweep.data_pipeline.sources.containers import Files, Member, reading
from fersweep.data_pipeline.sources.formats.csv_files import is_table, sound_rows
from fersweep.data_pipeline.sources.formats.csv_files import rows as csv_rows
from fersweep.data_pipeline.sources.pictures import is_hidden, is_picture

MOST_OPENED = 10_000  # names that are remembered


class File:
    """One file of a source. That it is missing is no error before it is opened: a face without its picture is counted."""

    def __init__(self, files: GivenFiles, name: str, member: Member | None):
        self._files, self.name, self.member = files, name, member

    @property
    def path(self) -> PurePosixPath:
        """Its name in the source: `file.path.stem`, `file.path.parent.name`."""
        return PurePosixPath(self.name)

    @property
    def exists(self) -> bool:
        return self.member is not None

    def belongs_to(self, files: GivenFiles) -> bool:
        return self._files is files

    def open(self) -> IO[bytes]:
        """The content, to be read as a stream. InputError where the file is missing or broken."""
        if self.member is None:
            self._files.refuse(self.name)
        self._files.note(self.name)
        with reading(self.name):
            return self.member.open()

    def read(self) -> bytes:
        """The whole content. InputError where the file is missing or broken."""
        with self.open() as file, reading(self.name):
            return file.read()

    def __repr__(self) -> str:
        return f"File({self.name!r})"


class Row(dict[str, str]):
    """A row of a table: column → cell. KeyError that names the nearest column."""

    def __missing__(self, column: str) -> NoReturn:
        raise KeyError(f"there is no column {column!r}; {hint(str(column), self, 'there are')}")


class GivenFiles:
    """The files of a source; hidden ones, and what macOS adds to archives, are left out where they are listed.

    `path`: where the source is. In a compressed tar files are listed, and not looked up by name.
    """

    def __init__(self, files: Files):
        self._files = files
        self.path: Path = files.path.absolute()  # processes of a cluster have other working directories
        self.opened: set[str] = set()
        """Names of the files that the reader opened itself; of many, the first."""

    def __iter__(self) -> Iterator[File]:
        """Every file, in the order of the names; in a compressed tar in its own order."""
        return (File(self, member.name, member) for member in self._files if not is_hidden(member.name))

    def pictures(self) -> Iterator[File]:
        """Every file that is named as a picture, or begins like one where its name has no suffix."""
        return (File(self, member.name, member) for member in self._files if is_picture(member))

    def __getitem__(self, name: str) -> File:
        name = _inside(name)
        return File(self, name, self._files.find(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self[name].exists

    def table(self, name: str) -> Iterator[Row]:
        """Rows of a CSV by its header's names; separators and encoding are found out. Empty rows are left out.

        InputError where it is missing, no CSV, a row is of another length, or two columns have one name.
        """
        name = _inside(name)
        if self._files.by_name:
            members = [member] if (member := self._files.find(name)) is not None else []
        else:
            members = (member for member in self._files if member.name == name)
        for member in members:  # one; in a compressed tar it is open until the next is asked for
            self.note(name)
            yield from _rows(member)
            return
        self.refuse(name)

    def note(self, name: str) -> None:
        if len(self.opened) < MOST_OPENED:
            self.opened.add(name)

    def refuse(self, name: str) -> NoReturn:
        """InputError that names what the source has that is called alike."""
        wanted, near, tables = PurePosixPath(name), list[str](), list[str]()
        for file in self:
            if file.path.name == wanted.name and len(near) < 2:
                near.append(file.name)
            if is_table(file.name) and len(tables) < 5:
                tables.append(file.name)
        near = near or difflib.get_close_matches(name, tables, n=1)
        meant = (
            f"did you mean {' or '.join(map(repr, near))}?" if near else f"it has {', '.join(tables)}" * bool(tables)
        )
        raise InputError(f"{self._files.path} has no file {name!r}{'; ' * bool(meant)}{meant}")


def _rows(member: Member) -> Iterator[Row]:
    columns = next(csv_rows(member))
    if twice := [column for column in columns if columns.count(column) > 1]:
        raise InputError(f"{member.name} has two columns {twice[0]!r}: rename one")
    for _, cells in sound_rows(member):
        yield Row(zip(columns, cells, strict=True))


def _inside(name: str) -> str:
    """The name as containers have it. InputError where it leads out of the source."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # it is a user's
        raise InputError(f"files[{name!r}]: want the name of a file, a text")
    inner = posixpath.normpath(name.replace("\\", "/"))
    if inner.startswith(("/", "../")) or inner in ("..", ".") or "\0" in inner:
        raise InputError(f"files[{name!r}] is no file of the source: names begin at the source, as in 'images/1.png'")
    return inner
