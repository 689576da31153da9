"""The request to stop a sweep: a file beside its record, in its directory or its bucket, which its driver looks for.

A driver withdraws what it finds when it begins, so that a request never stops a later one.
"""

from __future__ import annotations

import os
import socket

from fersweep.results.record.storage import Storage

NAME = "stop"


def request(storage: Storage) -> None:
    """Ask the driver that runs the sweep to stop. Raises OSError."""
    storage.write(NAME, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def requested(storage: Storage) -> bool:
    """Whether a stop is requested. Raises OSError where a bucket does not answer."""
    try:
        return bool(storage.read(NAME).strip())
    except FileNotFoundError:
        return False


def withdraw(storage: Storage) -> None:
    """Take the request back, if there is one; in a bucket an empty file stays. Raises OSError."""
    if storage.path is not None:
        (storage.path / NAME).unlink(missing_ok=True)
    elif requested(storage):
        storage.write(NAME, b"")
