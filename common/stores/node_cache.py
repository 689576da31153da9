"""What a machine keeps on a disk of its own, for all processes that run on it: staged datasets, and arrays made of them.

    path = node_cache.entry("dataset-0f3a", num_bytes, make, "the dataset")

`make(directory)` fills a directory, once a machine: other processes wait for it, and one that is killed is followed by
one that finds what it had made. An entry is used by a process until that ends, and is not removed before. Those that were
used least lately make room for others.

The directory is FERSWEEP_STAGED, else `staged` in the cache directory (common/files.py) where that is on a disk of this
machine, else one of this user's under the temporary directory. All entries have at most FERSWEEP_CACHE_GB, else four
fifths of what is free on that disk without them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fersweep.common.errors import InputError
from fersweep.common.files import cache_directory, cannot_write, lock
from fersweep.common.processes import is_own_directory

SHARE_OF_FREE = 0.8
SIZES = ".sizes.json"
"""Of an entry's files, relative name → [bytes, time of change in ns]; written last: an entry is whole if its files are so.
Hidden files do not count: they are memories of what was checked."""
NETWORK = {
    *(
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "lustre",
        "gpfs",
        "beegfs",
        "ceph",
        "glusterfs",
        "afs",
        "panfs",
        "orangefs",
    ),
    *(
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.ceph",
        "fuse.juicefs",
        "fuse.rclone",
        "fuse.beegfs",
    ),
}

_used: dict[Path, int] = {}
"""Entries that this process uses → the descriptor that holds its lock."""


def entry(name: str, num_bytes: int, make: Callable[[Path], None], what: str) -> Path:
    """The directory of the entry `name`, on a disk of this machine.

    Args:
        num_bytes: that it will take.
        make: fills a directory; it finds there what an earlier call that broke off has left.
        what: it is, for messages.

    Raises InputError where there is no room for it, and what `make` raises; RuntimeError for a disk that is full after all.
    """
    root = directory()
    path = root / name
    _use(path)
    if _is_whole(path):
        return path
    with lock(root / f".{name}.make"):
        if not _is_whole(path):
            if path.exists():
                _remove(path)
            partial = root / f".{name}.partial"
            _make_room(root, num_bytes - _num_bytes(partial), what, keep=name)
            try:
                partial.mkdir(exist_ok=True)
                make(partial)
                files = [file for file in partial.rglob("*") if file.is_file() and not file.name.startswith(".")]
                sizes = {str(file.relative_to(partial)): _state(file) for file in files}
                (partial / SIZES).write_text(json.dumps(sizes))
                partial.rename(path)
            except OSError as error:
                raise cannot_write(path, error) from error
    return path


def place() -> tuple[Path, bool]:
    """Where the entries are, made or not, and whether that is under the temporary directory."""
    chosen = os.environ.get("FERSWEEP_STAGED")
    path = Path(chosen) if chosen else cache_directory() / "staged"
    if chosen or not is_on_network(path):
        return path, False
    return Path(tempfile.gettempdir()) / f"fersweep-{os.getuid()}" / "staged", True


def directory() -> Path:
    """Where the entries are; made if need be. Raises InputError where that cannot be."""
    path, temporary = place()
    try:
        if temporary:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_own_directory(path.parent):
                raise PermissionError(0, "another user made it, it is a link, or others may write there")
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(0, "not this user's")
    except OSError as error:
        raise InputError(
            f"{path}: data cannot be staged there: {error.strerror or error}; name a directory on this machine's own "
            "disk in FERSWEEP_STAGED"
        ) from None
    return path.resolve()


def is_on_network(path: Path) -> bool:
    """Is the path, or the nearest directory above it that is there, on a file system of other machines?"""
    import psutil

    nearest = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists()).resolve()
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[each] for each in (nearest, *nearest.parents) if each in mounts), "") in NETWORK


def _use(path: Path) -> None:
    """Hold the entry from now on: nobody removes it. It need not be there yet."""
    if path not in _used:
        descriptor = os.open(
            path.with_name(f".{path.name}.use"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR
        )
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits only while somebody removes it
        _used[path] = descriptor
    os.utime(_used[path])  # it is used now


def _is_whole(path: Path) -> bool:
    try:
        sizes = json.loads((path / SIZES).read_bytes())
        return all(kept in (_state(path / name), _state(path / name)[0]) for name, kept in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _state(file: Path) -> list[int]:
    """Bytes and time of change; an older version kept the bytes alone."""
    state = file.stat()
    return [state.st_size, state.st_mtime_ns]


class Entry(NamedTuple):
    used: float
    name: str
    num_bytes: int


def whole(root: Path) -> list[str]:
    """Names of the entries that were made."""
    return sorted(path.name for path in root.glob("*") if not path.name.startswith("."))


def partial(root: Path) -> list[str]:
    """Names of the entries that are being made, or that a process which was killed has begun."""
    return sorted(path.name[1 : -len(".partial")] for path in root.glob(".*.partial"))


def half_removed(root: Path) -> list[Path]:
    """What processes that were killed have not removed to the end."""
    return sorted(root.glob(".*.removed-*"))


def _make_room(root: Path, num_bytes: int, what: str, keep: str) -> None:
    """Remove entries, those used least lately first, until `num_bytes` fit. Raises InputError if they do not."""
    for path in half_removed(root):
        shutil.rmtree(path, ignore_errors=True)
    entries = sorted(Entry(_last_use(root / name), name, _size(root, name)) for name in {*whole(root), *partial(root)})
    taken, free = sum(each.num_bytes for each in entries), shutil.disk_usage(root).free
    chosen = os.environ.get("FERSWEEP_CACHE_GB")
    try:
        most = float(chosen) * 1e9 if chosen else SHARE_OF_FREE * (free + taken)
    except ValueError:
        raise InputError(f"FERSWEEP_CACHE_GB={chosen}: want a number of gigabytes, e.g. 200") from None
    for each in entries:
        if taken + num_bytes <= most and num_bytes <= free:
            return
        if each.name != keep and remove_unused(root, each.name):
            taken, free = taken - each.num_bytes, free + each.num_bytes
    if taken + num_bytes > most or num_bytes > free:
        limit = f"FERSWEEP_CACHE_GB is {chosen}" if chosen and num_bytes <= free else f"its disk has {_gb(free)} free"
        raise InputError(
            f"{what} needs {_gb(num_bytes)} of {root}, where {_gb(taken)} are in use, and {limit}: make room, raise "
            "FERSWEEP_CACHE_GB, or name a directory on a larger disk in FERSWEEP_STAGED"
        )


def remove_unused(root: Path, name: str) -> bool:
    """Remove an entry unless somebody uses it or makes it."""
    with contextlib.ExitStack() as stack:
        descriptor = os.open(root / f".{name}.use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        for path in (root / name, root / f".{name}.partial"):
            if path.exists():
                _remove(path)
    return True


def _remove(path: Path) -> None:
    """Remove a directory: out of sight at once, so that nobody sees half of it."""
    removed = path.with_name(f".{path.name.strip('.')}.removed-{uuid.uuid4().hex[:8]}")
    path.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def _last_use(path: Path) -> float:
    try:
        return path.with_name(f".{path.name}.use").stat().st_mtime
    except OSError:
        return 0.0


def _size(root: Path, name: str) -> int:
    return _num_bytes(root / name) + _num_bytes(root / f".{name}.partial")


def _num_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
