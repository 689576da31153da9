"""Something that nothing needs: what it is, how large, and how it is removed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fersweep.common.files import disk_bytes
from fersweep.results.housekeeping.out_of_sight import remove_tree

DAY_S, HOUR_S = 86_400.0, 3_600.0  # for which a file that has no lock is taken to be in use


class InUse(Exception):
    """It is in use after all, or cannot be known to be of no use; the message says why."""


@dataclass(frozen=True)
class Leftover:
    """Something that nothing needs.

    Attributes:
        kind: one of collection.KINDS.
        what: its path, or what it is called.
        num_bytes: that it takes.
        remove: removes it. Raises InUse; OSError, RuntimeError or InputError where it cannot.
    """

    kind: str
    what: str
    num_bytes: int
    remove: Callable[[], None]


def path_leftover(kind: str, path: Path, remove: Callable[[], None] | None = None) -> Leftover:
    """A file or directory."""
    return Leftover(kind, str(path), disk_bytes(path), remove or (lambda: remove_tree(path)))


def quiet_for(path: Path, seconds: float) -> bool:
    """Was nothing written in a file, or anywhere below a directory, for so long? Links are not followed."""
    return time.time() - max(_changed(path), default=0.0) >= seconds


def _changed(path: Path) -> Iterator[float]:
    """Times of the last changes; of what cannot be looked at, now."""
    try:
        yield path.lstat().st_mtime
        if path.is_symlink() or not path.is_dir():
            return
        with os.scandir(path) as entries:
            for entry in entries:
                yield from _changed(Path(entry.path))
    except FileNotFoundError:
        return
    except OSError:
        yield time.time()
