"""The driver of a sweep: one at a time (`alone`), seen from its own machine or from another, and the request to stop.

A driver touches `heartbeat` in the sweep's directory, and writes it into the sweep's bucket. How old it is, the storage's
clock says: those of two machines may differ by hours. The request is a file there,
which it looks for, and withdraws when it begins: a request never stops a later one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fersweep.common.errors import InputError
from fersweep.common.files import is_held, lock
from fersweep.common.untrusted import read_regular
from fersweep.results.record import journal
from fersweep.results.record.storage import Storage

HEARTBEAT, LOCK, REQUEST = "heartbeat", "driver.lock", "stop"
KEEPER = "keeper"  # who holds the lock where that is no driver: `rm` or `mv`
BEAT_S, BUCKET_BEAT_S = 5.0, 30.0
COPIED_S = 6 * 3_600.0  # a heartbeat that was written so long before the bucket got it is a copy; no clock is so wrong
SILENT_S = 3 * BEAT_S  # a driver that shares the directory and beats no more is dead
DRIVEN = "another process is running this sweep: wait for it, or stop it (fersweep stop)"
MOMENT_S = 0.5  # for which `status` may hold a lock


class OtherDriver(NamedTuple):
    """The driver that wrote a sweep's heartbeat last; `silent_s` ago. alive: it may run still."""

    pid: str
    host: str
    silent_s: float
    alive: bool


def last_session(directory: Path) -> dict[str, Any] | None:
    """The journal's last event of a session: how its last driver began, or ended."""
    last: dict[str, Any] | None = None
    for event in journal.read_events(directory / "journal.jsonl"):
        last = event if event["event"] == "session" else last
    return last


def directory_driver(directory: Path, last: dict[str, Any] | None) -> OtherDriver | None:
    """A driver on another machine that shares the directory and beats still; None where there is none. `last`: the
    journal's last event of a session.

    A shared file system may not show the lock of another machine, but it shows its heartbeat.
    """
    if last is None or last["action"] != "started" or last.get("host") in (None, socket.gethostname()):
        return None
    try:
        silent_s = Storage(directory).age_s(HEARTBEAT)
    except OSError:
        return None
    return OtherDriver(str(last.get("pid")), last["host"], silent_s, True) if silent_s < SILENT_S else None


def bucket_driver(storage: Storage) -> OtherDriver | None:
    """None where no driver has run. Raises OSError."""
    try:
        at, pid, host = storage.read(HEARTBEAT).decode().split()
        silent_s, ended = storage.age_s(HEARTBEAT), float(at) == 0.0
        ended = ended or time.time() - float(at) > silent_s + COPIED_S
    except (FileNotFoundError, ValueError):
        return None
    return OtherDriver(pid, host, silent_s, silent_s < 2 * BUCKET_BEAT_S and not is_gone(host, pid) and not ended)


def is_gone(host: str | None, pid: str | None) -> bool:
    """Whether a process is known to have ended: it was one of this machine's, and is no more."""
    on_this = host == socket.gethostname() and Path("/proc/self").exists()
    return on_this and pid is not None and pid.isdigit() and not Path(f"/proc/{pid}").exists()


def beat(sweep_dir: Path) -> float | None:
    """When the driver last touched its heartbeat, in seconds since 1970, if it has one here."""
    try:
        return (sweep_dir / HEARTBEAT).stat().st_mtime
    except OSError:
        return None


def is_driven(sweep_dir: Path, storage: Storage, last: dict[str, Any] | None) -> bool:
    """Whether a driver runs the sweep, here or elsewhere. `last`: the journal's last event of a session."""
    if is_held(sweep_dir / LOCK):
        return True
    if storage.path is not None:
        return directory_driver(sweep_dir, last) is not None
    try:
        driver = bucket_driver(Storage(storage.address, retry_s=1))
    except OSError:  # what this machine knows
        return False
    return driver is not None and driver.alive


def kept_by(sweep_dir: Path) -> str | None:
    """What another process does with the sweep, whose lock it holds without driving it: `being removed by process 12`; None:
    there is none.
    """
    if not is_held(sweep_dir / LOCK):
        return None
    with contextlib.suppress(OSError, ValueError):
        what, pid, host = read_regular(sweep_dir / KEEPER, 1_000).decode().split()
        if not is_gone(host, pid):  # of one that was killed
            return f"being {what} by process {pid}{'' if host == socket.gethostname() else f' on {host}'}"
    return None


def request_stop(storage: Storage) -> None:
    """Ask the driver that runs the sweep to stop. Raises OSError."""
    storage.write(REQUEST, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def stop_requested(storage: Storage) -> bool:
    """Whether a stop is requested. Raises OSError where a bucket does not answer."""
    try:
        return bool(storage.read(REQUEST).strip())
    except FileNotFoundError:
        return False


def withdraw_stop(storage: Storage) -> None:
    """Take the request back, if there is one; in a bucket an empty file stays. Raises OSError."""
    if storage.path is not None:
        (storage.path / REQUEST).unlink(missing_ok=True)
    elif stop_requested(storage):
        storage.write(REQUEST, b"")


@contextlib.contextmanager
def alone(directory: Path, storage: Storage, wait_s: float = 0.0) -> Iterator[None]:
    """Be the sweep's driver until the block ends. InputError if another one is, and still is after `wait_s`."""
    deadline, said = time.monotonic() + wait_s, False
    while True:
        try:  # wait a moment: `status` holds the lock while it checks whether a driver does
            held = lock(directory / LOCK, MOMENT_S)
        except TimeoutError:
            kept = kept_by(directory)
            reason = f"{directory}: {DRIVEN}" if kept is None else f"{directory} is {kept}: wait for its end"
        else:
            with held:
                reason = _driven_elsewhere(directory, storage)
                if reason is None:
                    yield
                    return
        if time.monotonic() >= deadline:
            raise InputError(reason)
        if not said:
            print(f"{reason}; waiting for its end, up to {wait_s:.0f} s", file=sys.stderr, flush=True)
            said = True
        time.sleep(1.0)


def _driven_elsewhere(directory: Path, storage: Storage) -> str | None:
    """Who runs the sweep now, in a line: on another machine that shares its directory, or through its bucket."""
    if storage.path is not None:
        place, silent_s, driver = str(directory), SILENT_S, directory_driver(directory, last_session(directory))
    else:
        place, silent_s, driver = storage.address, 2 * BUCKET_BEAT_S, bucket_driver(storage)
    if driver is None or not driver.alive:
        return None
    return (
        f"{place}: process {driver.pid} on {driver.host} ran this sweep {driver.silent_s:.0f} s ago; stop it "
        f"(fersweep stop), or, if it is gone, resume in {silent_s - driver.silent_s:.0f} s"
    )
