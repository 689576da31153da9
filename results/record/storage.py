"""Where a sweep's record and checkpoints are: its directory, or a bucket that outlives every machine of the cluster.

    storage = Storage("runs/sweeps/mine")  or  Storage("s3://bucket/sweeps/mine")
    storage.write("sweep.json", content)                       # there whole, or not at all
    with storage.new("trials/0007/epoch-0012") as directory:   # files written here are there whole, or not at all
        ...

Names are relative, with "/" between their parts. A bucket is reached through pyarrow's filesystems, which take their
credentials from the environment; what fails is tried again for RETRY_S.
"""

# pyarrow has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from fersweep.common.files import new_directory, write_whole
from fersweep.common.text import masked

RETRY_S = 60.0
T = TypeVar("T")


class Storage:
    """A directory, local or shared, or a prefix in a bucket. Can be pickled. Its methods raise OSError.

    `retry_s`: how long a bucket that does not answer is tried.
    """

    def __init__(self, address: str | Path, retry_s: float = RETRY_S):
        self.address, self.retry_s = str(address), retry_s
        self.path = None if "://" in self.address else Path(address)
        self._opened: tuple[Any, str] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_opened": None}

    def read(self, name: str) -> bytes:
        """The content of a file. Raises FileNotFoundError."""
        if self.path is not None:
            return (self.path / name).read_bytes()

        def read() -> bytes:
            fs, root = self._open()
            with fs.open_input_stream(f"{root}/{name}") as stream:
                return stream.readall()

        return self._retried(read)

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is there whole, or as it was before."""
        if self.path is not None:
            write_whole(self.path / name, content, sync=False)
            return

        def write() -> None:
            fs, root = self._open()
            with fs.open_output_stream(f"{root}/{name}") as stream:
                stream.write(content)

        self._retried(write)

    def names(self, directory: str) -> list[str]:
        """Names of the files and directories in a directory, sorted; none where there is no such directory."""
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                return sorted(name for name in os.listdir(self.path / directory) if not name.startswith("."))
            return []

        def names() -> list[str]:
            from pyarrow.fs import FileSelector

            fs, root = self._open()
            entries = fs.get_file_info(FileSelector(f"{root}/{directory}", allow_not_found=True))
            return sorted(entry.base_name for entry in entries)

        return self._retried(names)

    @contextlib.contextmanager
    def new(self, name: str) -> Iterator[Path]:
        """An empty local directory; what it holds at the block's end is stored as the directory `name`."""
        if self.path is None:
            with tempfile.TemporaryDirectory(prefix="fersweep-") as scratch:
                yield Path(scratch)
                for path in sorted(Path(scratch).iterdir()):
                    self.write(f"{name}/{path.name}", path.read_bytes())
            return
        target = self.path / name
        with new_directory(target) as fresh:
            yield fresh
            outdated = fresh.with_suffix(".old")
            if target.exists():  # of an attempt before this one; the same content under the same name
                target.rename(outdated)
        shutil.rmtree(outdated, ignore_errors=True)

    def fetch(self, name: str, to: Path) -> Path:
        """A local directory with the content of the directory `name`: itself where it is local, else a copy at `to`."""
        if self.path is not None:
            return self.path / name
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        for file in self.names(name):
            (to / file).write_bytes(self.read(f"{name}/{file}"))
        return to

    def remove(self, directory: str) -> None:
        """Delete a directory; nothing where there is none."""
        if self.path is not None:
            shutil.rmtree(self.path / directory, ignore_errors=True)
            return

        def remove() -> None:
            fs, root = self._open()
            with contextlib.suppress(FileNotFoundError):
                fs.delete_dir(f"{root}/{directory}")

        self._retried(remove)

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            from pyarrow.fs import FileSystem

            try:
                self._opened = FileSystem.from_uri(self.address)
            except (OSError, ValueError) as error:  # it quotes the address
                raise type(error)(masked(str(error))) from None
        assert self._opened is not None
        return self._opened

    def _retried(self, call: Callable[[], T]) -> T:
        deadline, wait_s = time.monotonic() + self.retry_s, 0.2
        while True:
            try:
                return call()
            except FileNotFoundError:
                raise
            except OSError as error:
                if time.monotonic() + wait_s > deadline:
                    error.errno = error.errno or errno.EIO  # pyarrow's has none
                    raise
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, 10.0)
