"""The containers of raw data: a folder, a zip, a tar, or a single file, as a stream of their files.

    for member in members(Path("fer2013.tar.gz")):
        with reading(member.name), member.open() as file:
            ...

Archives are never unpacked, and the names of their members are only ever read, never used as paths. Whatever is broken
is an InputError that names the archive or the member.
"""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, Self

from data_pipeline.errors import InputError

MAX_HEADER_BYTES = 2**14  # of a tar's long names and attributes
EXTENDED_HEADERS = b"xgXLK"


class Member(NamedTuple):
    """One file of a source. `open` streams it, and is valid until the next member is asked for."""

    name: str
    num_bytes: int
    open: Callable[[], IO[bytes]]


@contextmanager
def reading(what: str) -> Iterator[None]:
    """InputError that names `what` where it cannot be read.

    A broken archive shows as whatever the standard library's readers trip over: BadZipFile, OSError, zlib.error,
    LZMAError, EOFError, IndexError, ValueError, NotImplementedError (its method), RuntimeError (its password), …
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} cannot be read: {_why(error)}") from None


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).split("\n")[0].rstrip(":") or type(error).__name__


def _printable(name: str) -> str:
    """A member's name as UTF-8 can hold it; bytes that were none are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def members(path: Path) -> Iterator[Member]:
    """Files of a folder (sorted), a zip (sorted) or a tar (its order), or the file itself."""
    _refuse_no_source(path)
    name = path.name.lower()
    if path.is_dir():
        with reading(str(path)):
            for file in sorted(path.rglob("*"), key=lambda file: file.relative_to(path).as_posix()):
                if file.is_file():
                    relative = _printable(file.relative_to(path).as_posix())
                    yield Member(relative, file.stat().st_size, lambda file=file: file.open("rb"))
        return
    if name.endswith((".zip", ".tar", ".tar.gz", ".tgz")):
        try:
            yield from _zip(path) if name.endswith(".zip") else _tar(path)
        except Exception as error:  # see reading
            raise InputError(f"{path} is no readable archive: {_why(error)}") from None
        return
    yield Member(_printable(path.name), path.stat().st_size, lambda: path.open("rb"))


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


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if not info.filename.endswith("/"):
                yield Member(info.filename, info.file_size, lambda info=info: archive.open(info))


class _TarInfo(tarfile.TarInfo):
    """Refuses long extended headers: tarfile reads them whole, and takes quadratic time (CVE-2024-6232)."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in EXTENDED_HEADERS and not 0 <= info.size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header of {info.size} bytes")
        return info


def _tar(path: Path) -> Iterator[Member]:
    with tarfile.open(path, tarinfo=_TarInfo) as archive:
        for info in archive:
            if archive.offset <= info.offset:  # a size below 0: it would go round in circles (CVE-2025-8194)
                raise tarfile.ReadError(f"the header of {info.name} is broken")
            if info.isfile():
                name = _printable(info.name)
                yield Member(name, info.size, lambda info=info: archive.extractfile(info) or io.BytesIO())
        # tarfile takes a broken header for the end; a whole archive ends with blocks of zeros
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        end = archive.fileobj.read(2 * tarfile.BLOCKSIZE)
        if len(end) < tarfile.BLOCKSIZE or any(end):
            raise tarfile.ReadError("it ends too early")
        while archive.fileobj.read(2**20):  # up to where gzip compares its sum
            pass
