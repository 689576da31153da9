"""Files: checksums, atomic writes, locks, and what is checked of a path before anything is written to it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.processes import usable_home
from fersweep.common.untrusted import open_regular

SPECIAL = "a pipe, a socket, a device or a circle of links"


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content, read in pieces. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]


def cache_directory() -> Path:
    """FERSWEEP_CACHE, or ~/.cache/fersweep."""
    usable_home()
    return Path(os.environ.get("FERSWEEP_CACHE") or Path.home() / ".cache" / "fersweep")


def readings_directory() -> Path:
    """Where what MediaPipe saw in faces is kept: FERSWEEP_READINGS, or `readings` in the cache directory."""
    return Path(os.environ.get("FERSWEEP_READINGS") or cache_directory() / "readings")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` when the block ends well; otherwise nothing is left. A link stays one.

    Raises OSError for a pipe or a device.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path  # also of links in a circle
    if _is_special(path):  # a rename would put a file in the place of /dev/null
        raise OSError(errno.EINVAL, f"it is {SPECIAL}, which is never replaced", str(path))
    # No name that others could guess: in a directory that they may write, too, they might have made a link of it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Is there something that is neither a file nor a directory, or links in a circle?"""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.errno == errno.ELOOP
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def write_whole(path: Path, data: bytes, sync: bool = True) -> None:
    """Write a file by temp-and-rename, and its directory if need be. Raises OSError.

    `sync`: the data is on disk before the name is, so that `path` holds the old content or the new after a power cut, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def disk_bytes(path: Path) -> int:
    """Size of a file, or the sum of those of all files below a directory, without what links lead to; some may be deleted meanwhile."""
    with contextlib.suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            return sum(disk_bytes(Path(entry.path)) for entry in entries)
    return 0


def cannot_write(path: Path, error: OSError) -> Exception:
    """What to raise where a file that the user named cannot be written: an InputError, since another name would do;
    a RuntimeError where it would not, as the disk is full or damaged.
    """
    of_disk = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
    return (RuntimeError if of_disk else InputError)(f"{path} cannot be written: {error.strerror or error}")


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """An empty directory beside `path`, which takes its name when the block ends well; otherwise nothing is left.

    Raises OSError if `path` is there by then, unless as an empty directory.
    """
    fresh = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        fresh.mkdir(parents=True)
        yield fresh
        fresh.rename(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def regular_file(path: Path, what: str = "") -> Path:
    """`path`, if it is a file that can be read again and again. Raises InputError, beginning with `what`.

    A pipe without a writer blocks who opens it, a device may never end: neither is opened to find that out.
    """
    begin = f"{what} {path}".lstrip()
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{begin}: there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{begin}: cannot be found ({getattr(error, 'strerror', error)})") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{begin}: is a directory, where a file is wanted")
    if not stat.S_ISREG(mode):
        raise InputError(f"{begin}: is {SPECIAL}; wanted is a file, which can be read twice")
    return path


def check_target(path: Path, option: str, suffixes: tuple[str, ...]) -> Path:
    """`path`, if a file of one of `suffixes` can be written there. Raises InputError naming `option`."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{option} {path}: the name must end in {', '.join(suffixes)}")
    if path.is_dir():
        raise InputError(f"{option} {path}: there is a directory of that name")
    if _is_special(path):
        raise InputError(f"{option} {path}: is {SPECIAL}, where a file is to be written")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no directory {path.parent}")
    check_writable(path.parent, f"{option} {path}")
    return path


def check_name(path: Path, what: str) -> None:
    """Raises InputError, beginning with `what`, if a path is not UTF-8: Ray, SQLite and Parquet hold no other."""
    try:
        str(Path(path).absolute()).encode()
    except UnicodeEncodeError:
        raise InputError(f"{what}: the name is not UTF-8; rename it") from None


def nearest_directory(path: Path) -> Path:
    """The path, or the nearest one above it that is a directory."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.is_dir())


def check_writable(directory: Path, what: str) -> None:
    """Raises InputError, beginning with `what`, if no file can be made in `directory`, also where the disk is full."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise InputError(f"{what}: nothing can be written into {directory} ({error.strerror})") from None


def lock(path: Path, wait_s: float | None = None) -> AbstractContextManager[Any]:
    """Take the lock file `path`, alone among all processes, until the end of `with lock(path):` or of this process.

    `wait_s`: how long another holder is waited for; None: until it lets go. Raises TimeoutError then, and OSError where
    the file cannot be made. InputError where something else than a file has its name. The file stays.
    """
    from filelock import FileLock

    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise InputError(f"{path}: a link, a pipe or a directory is in the place of a lock: remove it")

    return FileLock(path, fallback_to_soft=False).acquire(timeout=-1 if wait_s is None else wait_s)


def is_held(path: Path) -> bool:
    """Does another process hold this lock file? Neither makes nor changes it, and lets go of it at once."""
    try:
        with open_regular(path) as file:  # shared, as two may look at once, and read-only: filelock can do neither
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
