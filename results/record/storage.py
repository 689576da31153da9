"""Where a sweep's record and checkpoints are: its directory, or a bucket that outlives every machine of the cluster.

    storage = Storage("runs/sweeps/mine")  or  Storage("s3://bucket/sweeps/mine")
    storage.write("sweep.json", content)                       # there whole, or not at all
    with storage.new("trials/0007/epoch-0012") as directory:   # files written here are there whole, or not at all
        ...

Names are relative, with "/" between their parts. How a bucket is reached: common/stores/buckets.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fersweep.common.files import new_directory, write_whole
from fersweep.common.stores.buckets import MOST_BYTES, RETRY_S, Bucket, is_address
from fersweep.common.untrusted import is_plain_path, read_regular

CLOCK = "clock"  # a file that is written to learn the storage's time


class Storage:
    """A directory, local or shared, or a prefix in a bucket. Can be pickled. Its methods raise OSError.

    `retry_s`: how long a bucket that does not answer is tried.
    """

    def __init__(self, address: str | Path, retry_s: float = RETRY_S):
        self.address = str(address)
        self._bucket = Bucket(self.address, retry_s) if is_address(address) else None
        self._path = Path(address)

    @property
    def path(self) -> Path | None:
        """The directory; None for a bucket."""
        return self._path if self._bucket is None else None

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """The content of a file of at most `most` bytes. Raises FileNotFoundError."""
        return read_regular(self._path / name, most) if self._bucket is None else self._bucket.read(name, most)

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is there whole, or as it was before."""
        if self._bucket is None:
            write_whole(self._path / name, content, sync=False)
        else:
            self._bucket.write(name, content)

    def age_s(self, name: str) -> float:
        """How long ago a file was written, in seconds by the storage's own clock: those of machines differ. By this
        machine's where nothing can be written there. Raises FileNotFoundError.
        """
        now = time.time()
        if self._bucket is not None:
            written = self._bucket.written_at(name)
            with contextlib.suppress(OSError):
                self._bucket.write(CLOCK, b"")
                now = self._bucket.written_at(CLOCK)
        else:
            written = (self._path / name).stat().st_mtime
            with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(dir=self._path, prefix=f".{CLOCK}-") as file:
                now = os.fstat(file.fileno()).st_mtime
        return max(now - written, 0.0)

    def names(self, directory: str) -> list[str]:
        """Names of the files and directories in a directory, sorted; none where there is no such directory."""
        if self._bucket is not None:
            return self._bucket.names(directory)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return sorted(name for name in os.listdir(self._path / directory) if not name.startswith("."))
        return []

    def sizes(self) -> dict[str, int]:
        """Paths of all files → bytes."""
        if self._bucket is not None:
            return self._bucket.sizes("")
        paths = [path for path in self._path.rglob("*") if path.is_file() and not path.is_symlink()]
        return {path.relative_to(self._path).as_posix(): path.stat().st_size for path in paths}

    @contextlib.contextmanager
    def new(self, name: str) -> Iterator[Path]:
        """An empty local directory; what it holds at the block's end is stored as the directory `name`."""
        if self._bucket is not None:
            with tempfile.TemporaryDirectory(prefix="fersweep-") as scratch:
                yield Path(scratch)
                for path in sorted(path for path in Path(scratch).rglob("*") if path.is_file()):
                    self.write(f"{name}/{path.relative_to(scratch).as_posix()}", path.read_bytes())
            return
        target = self._path / name
        with new_directory(target) as fresh:
            yield fresh
            outdated = fresh.with_suffix(".old")
            if target.exists():  # of an attempt before this one; the same content under the same name
                target.rename(outdated)
        shutil.rmtree(outdated, ignore_errors=True)

    def fetch(self, name: str, to: Path) -> Path:
        """A local directory with the content of the directory `name`: itself where it is local, else a copy at `to`."""
        if self._bucket is None:
            return self._path / name
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        for file in filter(is_plain_path, self._bucket.files(name)):
            (to / file).parent.mkdir(parents=True, exist_ok=True)
            (to / file).write_bytes(self.read(f"{name}/{file}"))
        return to

    def read_all(self, directory: str) -> dict[str, bytes]:
        """The files in a directory and below it: name, from the storage's own place on → content."""
        if self._bucket is None:
            paths = [path for path in (self._path / directory).rglob("*") if path.is_file()]
            names = [path.relative_to(self._path).as_posix() for path in paths]
        else:
            names = [f"{directory}/{file}" for file in filter(is_plain_path, self._bucket.files(directory))]
        return {name: self.read(name) for name in names}

    def move(self, name: str, to: str) -> None:
        """Give a file or a directory another name, which is free."""
        if self._bucket is None:
            (self._path / to).parent.mkdir(parents=True, exist_ok=True)
            (self._path / name).rename(self._path / to)
            return
        if files := self._bucket.files(name):
            for file in files:
                self.write(f"{to}/{file}", self.read(f"{name}/{file}"))
            self._bucket.remove(name)
        else:
            self.write(to, self.read(name))
            self._bucket.remove_file(name)

    def remove(self, directory: str) -> None:
        """Delete a directory; nothing where there is none."""
        if self._bucket is None:
            shutil.rmtree(self._path / directory, ignore_errors=True)
        else:
            self._bucket.remove(directory)

    def remove_file(self, name: str) -> None:
        """Delete a file; nothing where there is none."""
        if self._bucket is None:
            (self._path / name).unlink(missing_ok=True)
        else:
            self._bucket.remove_file(name)
