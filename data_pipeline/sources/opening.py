"""Opens a source: a folder, an archive, or a single file.

    with opened(Path("fer2013.zip")) as files:
        for member in files:                      # streamed, in a fixed order
            with reading(member.name), member.open() as file:
                ...
        member = files.find("fer2013/fer2013.csv")  # by name: not in a tar, which can only be read in its order

What kind of archive a file is, its first bytes say, whatever it is called.
"""

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.archives import CompressedTable, Tar, Zip
from fersweep.data_pipeline.sources.containers import (
    Files,
    Folder,
    Member,
    OneFile,
    readable,
    reading,
    refuse_no_source,
)

Kind = Literal["zip", "tar", "table"]

ZIPS = (b"PK\3\4", b"PK\5\6")
COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
NOT_READ = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\7", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\x1f\x9d")
NAMED_NOT_READ = re.compile(r"\.(7z|rar|zst|tzst|lz4?|lzma|z|cab|iso|dmg)$", re.IGNORECASE)
NAMED_ZIP = re.compile(r"\.zip$", re.IGNORECASE)
NAMED_TAR = re.compile(r"\.(tar(\.(gz|bz2|xz))?|tgz|tbz2?|txz)$", re.IGNORECASE)
COMPRESSION = re.compile(r"\.(gz|bz2|xz)$", re.IGNORECASE)
PART = re.compile(r"\.(z\d\d|r\d\d|\d{3}|part\d+\.rar|(zip|tar|gz|tgz|bz2|xz|7z)\.?(part)?a[a-z])$", re.IGNORECASE)
PACKED = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|gz|bz2|xz)$", re.IGNORECASE)
TABLES = (".csv", ".tsv", ".txt")  # read line by line, so that one may be of any length
OR_FOLDER = "or give the unpacked folder"
A_PART = f"a part of a split archive: join the parts and give the whole, {OR_FOLDER}"


@contextmanager
def opened(path: Path) -> Iterator[Files]:
    """The files of `path`. InputError where it is missing, no file or folder, or no readable archive."""
    refuse_no_source(path)
    if path.is_dir():
        yield Folder(path)
        return
    if NAMED_ZIP.search(path.name) and path.with_suffix(".z01").is_file():
        raise InputError(f"{path} is {A_PART}")
    with archive_in(_member(path)) as files:
        yield OneFile(path) if files is None else files


def is_archive(path: Path) -> bool:
    return path.is_file() and _kind(_member(path)) is not None


def is_packed(name: str) -> bool:
    """Is it named as an archive, or as a part of one?"""
    return any(pattern.search(name) for pattern in (PACKED, NAMED_NOT_READ, PART))


@contextmanager
def archive_in(member: Member) -> Iterator[Files | None]:
    """The files of a file that is an archive; None: it is none. InputError where it is one that is not read."""
    kind, path = _kind(member), Path(member.name)
    if kind == "zip":
        with readable(member.name):
            file = member.open()
        with file:
            with readable(member.name):
                archive = zipfile.ZipFile(file)
            with archive:
                yield Zip(path, archive)
    elif kind == "tar":
        yield Tar(path, member.open)
    elif kind == "table":
        name = COMPRESSION.sub("", path.name)
        yield CompressedTable(path, name, member.num_bytes, lambda: _decompressed(member))
    else:
        yield None


def _member(path: Path) -> Member:
    return Member(str(path), path.stat().st_size, lambda: path.open("rb"))


def _kind(member: Member) -> Kind | None:
    """By the first bytes; where they say nothing, by the name, so that it is told to be broken."""
    name = member.name
    if PART.search(name):
        raise InputError(f"{name} is {A_PART}")
    with reading(name), member.open() as file:
        begin = file.read(tarfile.BLOCKSIZE)
    if begin.startswith(NOT_READ) or NAMED_NOT_READ.search(name):
        raise InputError(f"{name} is an archive of a kind that is not read: repack it as .zip or .tar.gz, {OR_FOLDER}")
    if begin.startswith(ZIPS) or NAMED_ZIP.search(name):
        return "zip"
    if _is_tar(begin) or NAMED_TAR.search(name):
        return "tar"
    if not begin.startswith(tuple(COMPRESSIONS)) and not COMPRESSION.search(name):
        return None
    file = _decompressed(member)
    with readable(name), file:
        begin = file.read(tarfile.BLOCKSIZE)
    if _is_tar(begin):
        return "tar"
    if COMPRESSION.sub("", name).lower().endswith(TABLES):
        return "table"
    raise InputError(f"{name} is one compressed file, but no CSV by its name (like fer2013.csv.gz): unpack it")


def _is_tar(begin: bytes) -> bool:
    return begin[257:262] == b"ustar"


class _Decompressed(io.BufferedReader):
    """Closes the compressed file, too."""

    def __init__(self, decompressed: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile, compressed: IO[bytes]):
        super().__init__(decompressed)  # pyright: ignore[reportArgumentType]  # has all that is asked of it
        self._compressed = compressed

    def close(self) -> None:
        super().close()
        self._compressed.close()


def _decompressed(member: Member) -> IO[bytes]:
    file = member.open()
    begin = file.read(8)
    file.seek(0)
    for first, decompress in COMPRESSIONS.items():
        if begin.startswith(first):
            return _Decompressed(decompress(file), file)
    file.close()
    plain = COMPRESSION.sub("", Path(member.name).name)
    raise InputError(f"{member.name} is not compressed: rename it to {plain}")
