"""Archives as containers: a zip, a tar in any compression that tarfile reads, and a single compressed table."""

import io
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Self

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member, printable, readable

MAX_HEADER_BYTES = 2**14  # of a tar's long names and attributes
EXTENDED_HEADERS = b"xgXLK"
UTF8_FLAG = 0x800  # of a name in a zip
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


class Zip:
    """In the order of the names."""

    by_name = True

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self.path, self.archive, self.left_out = path, archive, Counter[str]()

    def __iter__(self) -> Iterator[Member]:
        for name, info in sorted(self._names, key=lambda pair: pair[0]):
            if not name.endswith("/"):
                yield self._member(name, info)

    def find(self, name: str) -> Member | None:
        info = self._infos.get(name)
        return None if info is None else self._member(name, info)

    @cached_property
    def _names(self) -> list[tuple[str, zipfile.ZipInfo]]:
        return [(_zip_name(info), info) for info in self.archive.infolist()]

    @cached_property
    def _infos(self) -> dict[str, zipfile.ZipInfo]:
        return dict(self._names)

    def _member(self, name: str, info: zipfile.ZipInfo) -> Member:
        if info.flag_bits & 1:
            raise InputError(f"{self.path} is encrypted ({name}): give it without a password")
        if info.compress_type not in ZIP_METHODS:  # 9 is that of Windows for large zips
            why = f"is packed by zip's method {info.compress_type} ({name}), which is not read"
            raise InputError(f"{self.path} {why}: repack it as .zip or .tar.gz, or give the unpacked folder")
        return Member(name, info.file_size, lambda: self.archive.open(info))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """A name in UTF-8, though it is not marked as such, comes out right; others as in the code page of DOS."""
    name = info.filename
    if not info.flag_bits & UTF8_FLAG and not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return _slashed(name)


def _slashed(name: str) -> str:
    """Some tools of Windows write "\\" for "/". Where both are, it is a letter: in Japanese, half of one."""
    return name if "/" in name else name.replace("\\", "/")


class _TarInfo(tarfile.TarInfo):
    """Refuses long extended headers: tarfile reads them whole, and takes quadratic time (CVE-2024-6232)."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in EXTENDED_HEADERS and not 0 <= info.size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header of {info.size} bytes")
        return info


class Tar:
    """In its own order."""

    by_name = False

    def __init__(self, path: Path, open: Callable[[], IO[bytes]]):
        self.path, self.open, self.left_out = path, open, Counter[str]()

    def find(self, name: str) -> Member | None:
        raise InputError(
            f"{self.path} is a tar, which can only be read in its order, but {name} is wanted by name: "
            "give the unpacked folder or a zip"
        )

    def __iter__(self) -> Iterator[Member]:
        with (
            readable(str(self.path)),
            self.open() as file,
            tarfile.open(fileobj=file, tarinfo=_TarInfo) as archive,
        ):
            yield from _members(archive)
            assert archive.fileobj is not None
            while archive.fileobj.read(2**20):  # up to where gzip compares its checksum
                pass

    @contextmanager
    def by_names(self) -> Iterator[Files]:
        """The same files, to be looked up by name until the block ends, where it is not compressed; else itself.

        Its headers are read once, before the block begins.
        """
        with ExitStack() as stack:
            with readable(str(self.path)):
                file = stack.enter_context(self.open())
                try:
                    archive = stack.enter_context(tarfile.open(fileobj=file, mode="r:", tarinfo=_TarInfo))
                except tarfile.ReadError:  # compressed; or broken, which is said where it is read
                    archive = None
                members = None if archive is None else {member.name: member for member in _members(archive)}
            yield self if members is None else IndexedTar(self.path, members)


class IndexedTar:
    """A tar whose members can be read in any order."""

    by_name = True

    def __init__(self, path: Path, members: dict[str, Member]):
        self.path, self.members, self.left_out = path, members, Counter[str]()

    def __iter__(self) -> Iterator[Member]:
        yield from self.members.values()

    def find(self, name: str) -> Member | None:
        return self.members.get(name)


def _members(archive: tarfile.TarFile) -> Iterator[Member]:
    """Its files, and links to files, in its order."""
    for info in archive:
        if archive.offset <= info.offset:  # a size below 0: it would loop for ever (CVE-2025-8194)
            raise tarfile.ReadError(f"the header of {info.name} is broken")
        name = printable(_slashed(info.name))
        if info.isfile():
            yield Member(name, info.size, lambda info=info: archive.extractfile(info) or io.BytesIO())
        elif info.islnk() or info.issym():  # what it means may stand far ahead, or far behind
            yield Member(name, 0, partial(_refuse_link, name))
    # tarfile takes a broken header for the end, but a whole archive ends with blocks of zeros
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    end = archive.fileobj.read(2 * tarfile.BLOCKSIZE)
    if len(end) < tarfile.BLOCKSIZE or any(end):
        raise tarfile.ReadError("it ends too early")


def _refuse_link(name: str) -> IO[bytes]:
    raise InputError(f"{name} is a link, which is not followed in a tar: give the unpacked folder or a zip")


class CompressedTable:
    """A file that is compressed by itself, as a container of that one file. `num_bytes` is its size as it lies there."""

    by_name = True

    def __init__(self, path: Path, name: str, num_bytes: int, open: Callable[[], IO[bytes]]):
        self.path, self.member, self.left_out = path, Member(name, num_bytes, open), Counter[str]()

    def __iter__(self) -> Iterator[Member]:
        yield self.member

    def find(self, name: str) -> Member | None:
        return self.member if name == self.member.name else None
