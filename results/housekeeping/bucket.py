"""A sweep's place in a bucket, removed, or copied to another name: in an order in which a kill leaves no half of a sweep.

What is there without `sweep.json` is no sweep: that one is removed first, and written last.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

from fersweep.common.untrusted import parse_json
from fersweep.results.record.drivers import BUCKET_BEAT_S, HEARTBEAT
from fersweep.results.record.storage import CLOCK, Storage
from fersweep.results.record.sweep_json import FILE, MOST_BYTES

NOT_COPIED = (FILE, HEARTBEAT, CLOCK)


class Claim:
    """Says in a bucket that this process is at work on a sweep, as its driver would: nobody elsewhere resumes it."""

    def __init__(self, storage: Storage):
        self._storage, self._written = storage, -BUCKET_BEAT_S

    def beat(self) -> None:
        """To be called again and again. Raises OSError."""
        if time.monotonic() - self._written >= BUCKET_BEAT_S:
            self._storage.write(HEARTBEAT, f"{time.time()} {os.getpid()} {socket.gethostname()}".encode())
            self._written = time.monotonic()


def remove_place(storage: Storage, claim: Claim) -> None:
    """Remove all that is in a sweep's place. Raises OSError."""
    names = {path.partition("/")[0]: "/" in path for path in storage.sizes()}
    if not names:
        return
    claim.beat()
    storage.remove_file(FILE)
    for name, is_directory in names.items():
        claim.beat()
        if name == HEARTBEAT:
            continue
        if is_directory:
            storage.remove(name)
        else:
            storage.remove_file(name)
    storage.remove_file(HEARTBEAT)
    storage.remove("")


def copy_place(storage: Storage, to: Storage, sweep_json: bytes, claim: Claim) -> None:
    """Copy a sweep's place under another name, whole or without `sweep.json`. Raises OSError."""
    to.remove_file(FILE)
    sizes = storage.sizes()
    for path in sizes.keys() - {*NOT_COPIED}:
        claim.beat()
        to.write(path, storage.read(path))
    for path in to.sizes().keys() - sizes.keys():  # of a copy before this one, that broke off
        to.remove_file(path)
    to.write(FILE, sweep_json)


def sweep_id_in(storage: Storage) -> str | None:
    """The id of the sweep that is in a place; None where none can be read there. Raises OSError."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        return str(parse_json(storage.read(FILE, MOST_BYTES))["sweep_id"])
    return None
