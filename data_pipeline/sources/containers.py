"""The containers of raw data: a folder, a zip, a tar, or a single file.

    with opened(Path("fer2013.zip")) as files:
        for member in files:                      # streamed, in a fixed order
            with reading(member.name), member.open() as file:
                ...
        member = files.find("fer2013/fer2013.csv")  # by name: not in a tar, which can only be read in its order

Archives are never unpacked, and the names of their members are never used as paths. Whatever is broken is an
InputError that names the archive or the member.
"""

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, Protocol, Self

from fersweep.common.errors import InputError

MAX_HEADER_BYTES = 2**14  # of a tar's long names and attributes
EXTENDED_HEADERS = b"xgXLK"
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


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


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVES) and not path.is_dir()


@contextmanager
def opened(path: Path) -> Iterator[Files]:
    """The files of `path`. InputError where it is missing, no file or folder, or no readable archive."""
    _refuse_no_source(path)
    if path.is_dir():
        yield _Folder(path)
    elif not is_archive(path):
        yield _OneFile(path)
    elif path.name.lower().endswith(".zip"):
        with _readable(path):
            archive = zipfile.ZipFile(path)
        with archive:
            yield _Zip(path, archive)
    else:
        yield _Tar(path)


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
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # see reading
        raise InputError(f"{path} is no readable archive: {_why(error)}") from None


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).split("\n")[0].rstrip(":") or type(error).__name__


def _printable(name: str) -> str:
    """A member's name as UTF-8 can hold it; other bytes are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def _refuse_no_source(path: Path) -> None:
    wanted = "give a CSV, a folder of images, or a .zip, .tar or .tar.gz of either"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: {wanted}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path} cannot be found ({_why(error)}): {wanted}") from None
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # sources are read several times: no pipe, no device
        raise InputError(f"{path} is neither a file nor a folder: {wanted}")


class _OneFile:
    by_name = True

    def __init__(self, path: Path):
        self.path = path

    def __iter__(self) -> Iterator[Member]:
        yield Member(_printable(self.path.name), self.path.stat().st_size, lambda: self.path.open("rb"))

    def find(self, name: str) -> Member | None:
        return next((member for member in self if member.name == name), None)


class _Folder:
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
                yield Member(_printable(prefix + name), size, lambda file=file: file.open("rb"))

    def find(self, name: str) -> Member | None:
        file = self.path / name
        try:
            size = file.stat().st_size if file.is_file() else None
        except (OSError, ValueError):  # too long a name, a NUL in it
            return None
        return None if size is None else Member(name, size, lambda: file.open("rb"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)  # links to folders may form a loop


class _Zip:
    by_name = True

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self.path, self.archive = path, archive

    def __iter__(self) -> Iterator[Member]:
        for info in sorted(self.archive.infolist(), key=lambda info: info.filename):
            if not info.filename.endswith("/"):
                yield self._member(info)

    def _member(self, info: zipfile.ZipInfo) -> Member:
        if info.flag_bits & 1:
            raise InputError(f"{self.path} is encrypted ({info.filename}): give it without a password")
        return Member(info.filename, info.file_size, lambda: self.archive.open(info))

    def find(self, name: str) -> Member | None:
        info = self.archive.NameToInfo.get(name)
        return None if info is None else self._member(info)


class _TarInfo(tarfile.TarInfo):
    """Refuses long extended headers: tarfile reads them whole, and takes quadratic time (CVE-2024-6232)."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in EXTENDED_HEADERS and not 0 <= info.size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header of {info.size} bytes")
        return info


class _Tar:
    by_name = False

    def __init__(self, path: Path):
        self.path = path

    def find(self, name: str) -> Member | None:
        raise InputError(
            f"{self.path} is a tar, which can only be read in its order, but {name} is wanted by name: "
            "give the unpacked folder or a zip"
        )

    def __iter__(self) -> Iterator[Member]:
        with _readable(self.path), tarfile.open(self.path, tarinfo=_TarInfo) as archive:
            for info in archive:
                if archive.offset <= info.offset:  # a size below 0: it would loop for ever (CVE-2025-8194)
                    raise tarfile.ReadError(f"the header of {info.name} is broken")
                if info.isfile():
                    name = _printable(info.name)
                    yield Member(name, info.size, lambda info=info: archive.extractfile(info) or io.BytesIO())
            # tarfile takes a broken header for the end, but a whole archive ends with blocks of zeros
            assert archive.fileobj is not None
            archive.fileobj.seek(archive.offset)
            end = archive.fileobj.read(2 * tarfile.BLOCKSIZE)
            if len(end) < tarfile.BLOCKSIZE or any(end):
                raise tarfile.ReadError("it ends too early")
            while archive.fileobj.read(2**20):  # up to where gzip compares its checksum
                pass
