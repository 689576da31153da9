"""One driver a sweep: whoever goes on with it takes its lock before it looks at what is there, and so before it writes."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.files import lock
from fersweep.results.record.drivers import BUCKET_BEAT_S, LOCK, SILENT_S, bucket_driver, directory_driver, last_session
from fersweep.results.record.storage import Storage

DRIVEN = "another process is running this sweep: wait for it, or stop it (fersweep stop)"
MOMENT_S = 0.5  # for which `status` may hold a lock


@contextlib.contextmanager
def alone(directory: Path, storage: Storage, wait_s: float = 0.0) -> Iterator[None]:
    """Be the sweep's driver until the block ends. InputError if another one is, and still is after `wait_s`."""
    deadline, said = time.monotonic() + wait_s, False
    while True:
        try:  # wait a moment: `status` holds the lock while it checks whether a driver does
            held = lock(directory / LOCK, MOMENT_S)
        except TimeoutError:
            reason = f"{directory}: {DRIVEN}"
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
