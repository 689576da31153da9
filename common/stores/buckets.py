"""Files in a bucket (s3://…, gs://…), through pyarrow's filesystems: what sweeps' records and datasets have in common.

    bucket = Bucket("s3://faces/fer2013?region=eu-central-1")
    bucket.read("manifest.json")

Options of the filesystem stand after "?" (region, endpoint_override, scheme). Credentials come from the environment
(AWS_ACCESS_KEY_ID, AWS_PROFILE, a machine's role, GOOGLE_APPLICATION_CREDENTIALS): an address that holds any is refused.
Names are relative, with "/" between their parts. What fails is tried again.
"""

# pyarrow has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fersweep.common.errors import InputError
from fersweep.common.text import masked
from fersweep.common.untrusted import GB, check_size

RETRY_S = 60.0
MOST_BYTES = 4 * GB  # of a file that is read whole
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
T = TypeVar("T")


def is_address(place: str | Path) -> bool:
    """Is it a bucket's address, and not a path?"""
    return "://" in str(place)


def resolved(place: str | Path) -> str | Path:
    """A path made absolute; a bucket's address as it is, without a "/" at its end."""
    if not is_address(place):
        return Path(place).resolve()
    prefix, mark, options = str(place).partition("?")
    return f"{prefix.rstrip('/')}{mark}{options}"


def name_of(place: str | Path) -> str:
    """The last part of a path or an address."""
    return Path(str(resolved(place)).partition("?")[0] if is_address(place) else place).name


def retried(call: Callable[[], T], retry_s: float = RETRY_S) -> T:
    """What `call` returns, tried again for `retry_s` while it raises OSError, unless that says that a file is not there or
    that this machine's disk takes no more.
    """
    deadline, wait_s = time.monotonic() + retry_s, 0.2
    while True:
        try:
            return call()
        except FileNotFoundError:
            raise
        except OSError as error:
            if time.monotonic() + wait_s > deadline or error.errno in OF_THE_DISK:
                error.errno = error.errno or errno.EIO  # pyarrow's has none
                raise
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, 10.0)


class Bucket:
    """A prefix in a bucket. Can be pickled. Its methods raise OSError.

    `retry_s`: how long a bucket that does not answer is tried. Raises InputError for an address that holds credentials.
    """

    def __init__(self, address: str, retry_s: float = RETRY_S):
        self.address, self.retry_s = address, retry_s
        if masked(address) != address:
            raise InputError(
                f"{address}: an address holds no credentials: they come from the environment "
                "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, the machine's role)"
            )
        self._opened: tuple[Any, str] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_opened": None}

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """The content of a file of at most `most` bytes. Raises FileNotFoundError."""

        def size_and_content() -> tuple[int, bytes]:
            fs, root = self._open()
            with fs.open_input_file(f"{root}/{name}") as file:
                return file.size(), file.read() if file.size() <= most else b""

        num_bytes, content = retried(size_and_content, self.retry_s)
        check_size(num_bytes, most, name)
        return content

    def stream(self, name: str) -> Any:
        """A file opened to be read in pieces, `read(n)`. Not tried again."""
        fs, root = self._open()
        return fs.open_input_stream(f"{root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is there whole, or as it was before."""

        def write() -> None:
            fs, root = self._open()
            with fs.open_output_stream(f"{root}/{name}") as stream:
                stream.write(content)

        retried(write, self.retry_s)

    def written_at(self, name: str) -> float:
        """When a file was written, in seconds since 1970 by the bucket's clock. Raises FileNotFoundError."""

        def written_at() -> float:
            fs, root = self._open()
            info = fs.get_file_info(f"{root}/{name}")
            if info.mtime_ns is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            return info.mtime_ns / 1e9

        return retried(written_at, self.retry_s)

    def names(self, directory: str) -> list[str]:
        """Names of the files and directories in a directory, sorted; none where there is no such directory."""

        def names() -> list[str]:
            from pyarrow.fs import FileSelector

            fs, root = self._open()
            entries = fs.get_file_info(FileSelector(f"{root}/{directory}", allow_not_found=True))
            return sorted(entry.base_name for entry in entries)

        return retried(names, self.retry_s)

    def files(self, directory: str) -> list[str]:
        """Paths of all files in a directory and below it, from there on, sorted; none where there is no such directory."""
        return sorted(self.sizes(directory))

    def sizes(self, directory: str) -> dict[str, int]:
        """The same paths → bytes."""

        def sizes() -> dict[str, int]:
            from pyarrow.fs import FileSelector, FileType

            fs, root = self._open()
            base = f"{root}/{directory}".rstrip("/")
            entries = fs.get_file_info(FileSelector(base, allow_not_found=True, recursive=True))
            files = (entry for entry in entries if entry.type == FileType.File)
            return {entry.path.removeprefix(f"{base}/"): int(entry.size or 0) for entry in files}

        return retried(sizes, self.retry_s)

    def remove(self, directory: str) -> None:
        """Delete a directory; nothing where there is none."""

        def remove() -> None:
            fs, root = self._open()
            with contextlib.suppress(FileNotFoundError):
                fs.delete_dir(f"{root}/{directory}".rstrip("/"))

        retried(remove, self.retry_s)

    def remove_file(self, name: str) -> None:
        """Delete a file; nothing where there is none."""

        def remove() -> None:
            fs, root = self._open()
            with contextlib.suppress(FileNotFoundError):
                fs.delete_file(f"{root}/{name}")

        retried(remove, self.retry_s)

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            from pyarrow.fs import FileSystem

            try:
                self._opened = FileSystem.from_uri(self.address)
            except (OSError, ValueError) as error:  # it quotes the address
                raise type(error)(masked(str(error))) from None
        assert self._opened is not None
        return self._opened
