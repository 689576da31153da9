"""Launch a sweep, or go on with it where it is there already: what a scheduler runs that may run its command again."""

from __future__ import annotations

from pathlib import Path

from fersweep.cluster.driver.run_sweep import Outcome
from fersweep.cluster.launch import launch
from fersweep.cluster.resume import resume
from fersweep.common.errors import InputError
from fersweep.results.record.home import find_sweep
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import stored_at
from fersweep.search_spaces.sweep_file.schema import Sweep

WAIT_S = 90.0  # for the driver before this one to end, or its heartbeat to be old


def launch_or_resume(asked: Sweep, data: str | Path, home: Path, address: str | None = None) -> Outcome:
    """Run the sweep to its end, from where it is. A finished one is left as it is.

    Raises InputError where its trials so far rest on something else than what is asked for now.
    """
    directory = Path(home) / "sweeps" / asked.name
    if not (directory / "sweep.json").is_file():
        if asked.storage is None or not _is_stored(stored_at(asked.storage, asked.name)):
            return launch(asked, data, home, address)
        directory = find_sweep(home, stored_at(asked.storage, asked.name))
    return resume(directory, address, asked=asked, data=data, wait_s=WAIT_S)


def _is_stored(address: str) -> bool:
    try:
        return "sweep.json" in Storage(address, retry_s=10).names("")
    except (OSError, ValueError) as error:
        raise InputError(f"storage {address}: {str(error).splitlines()[0]}") from None
