"""Files: checksums, atomic writes, locks, and what is checked of a path before anything is written to it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fersweep.common.errors import InputError


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content, read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds the old content or the new, never a part of it, even after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def cache_directory() -> Path:
    """FERSWEEP_CACHE, or ~/.cache/fersweep."""
    return Path(os.environ.get("FERSWEEP_CACHE") or Path.home() / ".cache" / "fersweep")


def write_whole(path: Path, content: bytes, sync: bool = True) -> None:
    """Write a local file by temp-and-rename; `sync`: on disk before the name is, so that it outlives a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)


def check_target(path: Path, option: str, suffixes: tuple[str, ...]) -> Path:
    """`path`, if a file of one of `suffixes` can be written there. Raises InputError naming `option`."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{option} {path}: the name must end in {', '.join(suffixes)}")
    if path.is_dir():
        raise InputError(f"{option} {path}: there is a directory of that name")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no directory {path.parent}")
    check_writable(path.parent, f"{option} {path}")
    return path


def check_writable(directory: Path, what: str) -> None:
    """Raises InputError, beginning with `what`, if no file can be made in `directory`."""
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise InputError(f"{what}: nothing can be written into {directory} ({error.strerror})") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` when the block ends well; otherwise nothing is left."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_held(lock: Path) -> bool:
    """Does another process hold this lock file? Neither makes nor changes it, and lets go of it at once."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
