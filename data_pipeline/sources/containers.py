"""What a source holds: the files of a folder, of an archive (archives.py), or a single file.

Archives are never unpacked, and the names of their members are never used as paths. Whatever is broken is an
InputError that names the archive or the member. `opened` of opening.py finds out which it is.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from fersweep.common.errors import InputError

EMPTY_FOLDER = "empty folder"
BROKEN_LINK = "link that leads nowhere"
READ_ANYWAY = "link to a folder that is read anyway"
MOST_FOLDERS = 100  # one in another
NO_FILE = "neither a file nor a folder"


class Member(NamedTuple):
    """One file of a source. `open` streams it; in a tar it is valid until the next member is asked for."""

    name: str
    num_bytes: int
    open: Callable[[], IO[bytes]]


class Files(Protocol):
    """The files of a source: those of a folder (sorted), of a zip (sorted) or of a tar (its order), or the one file."""

    path: Path
    """What was opened."""
    by_name: bool
    """Can they be looked up by name?"""
    left_out: Counter[str]
    """Reason → links and other things that are no files: of the last iteration."""

    def __iter__(self) -> Iterator[Member]: ...

    def find(self, name: str) -> Member | None:
        """The member of that name, written with "/" and without "..". InputError in a tar."""
        ...


@contextmanager
def reading(what: str) -> Iterator[None]:
    """InputError that names `what` where it cannot be read.

    For a broken archive the standard library's readers raise BadZipFile, OSError, zlib.error,
    LZMAError, EOFError, IndexError, ValueError, NotImplementedError (its method), RuntimeError (its password), …
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} cannot be read: {_why(error)}") from None


@contextmanager
def readable(where: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # see reading
        raise InputError(f"{where} is no readable archive: {_why(error)}") from None


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).split("\n")[0].rstrip(":") or type(error).__name__


def printable(name: str) -> str:
    """A member's name as UTF-8 can hold it; other bytes are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def refuse_no_source(path: Path) -> None:
    wanted = "give a CSV, a folder of images, or a .zip, .tar or .tar.gz of either"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: {wanted}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path} cannot be found ({_why(error)}): {wanted}") from None
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # sources are read several times: no pipe, no device
        raise InputError(f"{path} is neither a file nor a folder: {wanted}")


def as_member(name: str, file: Path) -> Member:
    """A file of a folder under its name within it."""
    return Member(printable(name), file.stat().st_size, lambda: file.open("rb"))


class OneFile:
    by_name = True

    def __init__(self, path: Path):
        self.path, self.left_out = path, Counter[str]()

    def __iter__(self) -> Iterator[Member]:
        yield as_member(self.path.name, self.path)

    def find(self, name: str) -> Member | None:
        return next((member for member in self if member.name == name), None)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


class Folder:
    """Links are followed, also to places outside: datasets are made of links to another disk. A folder is read once,
    so that a link to one that is read anyway, or that contains the link, is left out."""

    by_name = True

    def __init__(self, path: Path):
        self.path, self.left_out = path, Counter[str]()

    def __iter__(self) -> Iterator[Member]:
        with reading(str(self.path)):
            for name, file in self.files():
                yield as_member(name, file)

    def files(self) -> Iterator[tuple[str, Path]]:
        """(name within the folder, path) in the order of the whole names. OSError where a folder cannot be read."""
        self.left_out.clear()
        yield from self._below(self.path, "", {self.path.resolve()})

    def _below(self, folder: Path, prefix: str, linked: set[Path]) -> Iterator[tuple[str, Path]]:
        """Only names of one folder and its parents are in memory. `linked`: what links to folders led to, and the root."""
        if prefix.count("/") > MOST_FOLDERS:
            raise OSError(errno.ELOOP, f"more than {MOST_FOLDERS} folders in each other", str(folder))
        with os.scandir(folder) as entries:
            names = [(f"{entry.name}/" if _is_folder(entry) else entry.name) for entry in entries]
        if not names:
            self.left_out[EMPTY_FOLDER] += 1
        for name in sorted(names):
            file = folder / name.rstrip("/")
            if not name.endswith("/"):
                if file.is_file():
                    yield prefix + name, file
                else:
                    self.left_out[NO_FILE if file.exists() else BROKEN_LINK] += 1
            elif not file.is_symlink():
                yield from self._below(file, prefix + name, linked)
            elif any(
                target.is_relative_to(known) or known.is_relative_to(target)
                for target in [file.resolve()]
                for known in linked
            ):
                self.left_out[READ_ANYWAY] += 1
            else:
                linked.add(file.resolve())
                yield from self._below(file, prefix + name, linked)

    def find(self, name: str) -> Member | None:
        file = self.path / name
        try:
            size = file.stat().st_size if file.is_file() else None
        except (OSError, ValueError):  # too long a name, a NUL in it
            return None
        return None if size is None else Member(name, size, lambda: file.open("rb"))
