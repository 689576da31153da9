"""What a source holds: the files of a folder, of an archive (archives.py), or a single file.

Archives are never unpacked, and the names of their members are never used as paths. Whatever is broken is an
InputError that names the archive or the member. `opened` of opening.py finds out which it is.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from fersweep.common.errors import InputError


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


class OneFile:
    by_name = True

    def __init__(self, path: Path):
        self.path = path

    def __iter__(self) -> Iterator[Member]:
        yield Member(printable(self.path.name), self.path.stat().st_size, lambda: self.path.open("rb"))

    def find(self, name: str) -> Member | None:
        return next((member for member in self if member.name == name), None)


class Folder:
    by_name = True

    def __init__(self, path: Path):
        self.path = path

    def __iter__(self) -> Iterator[Member]:
        with reading(str(self.path)):
            yield from self._below(self.path, "")

    def _below(self, folder: Path, prefix: str) -> Iterator[Member]:
        """In the order of their whole names; only names of one folder and its parents are in memory."""
        with os.scandir(folder) as entries:
            names = [(f"{entry.name}/" if _is_folder(entry) else entry.name) for entry in entries]
        for name in sorted(names):
            if name.endswith("/"):
                yield from self._below(folder / name[:-1], prefix + name)
            elif (file := folder / name).is_file():
                size = file.stat().st_size
                yield Member(printable(prefix + name), size, lambda file=file: file.open("rb"))

    def find(self, name: str) -> Member | None:
        file = self.path / name
        try:
            size = file.stat().st_size if file.is_file() else None
        except (OSError, ValueError):  # too long a name, a NUL in it
            return None
        return None if size is None else Member(name, size, lambda: file.open("rb"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)  # links to folders may form a loop
