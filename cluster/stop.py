"""Stop a sweep from anywhere that sees its home or its bucket: its running trials report once more, with their checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fersweep.common.display.as_json import AsJson
from fersweep.common.display.tables import age
from fersweep.results.dashboards.status import SweepStatus, status
from fersweep.results.record.drivers import BEAT_S, request_stop, stop_requested
from fersweep.results.record.home import resume_command
from fersweep.results.record.recorded_sweep import load_sweep

WAIT_S = 60.0  # for a driver to end; its trials get 20 s
POLL_S = 0.5


@dataclass(frozen=True)
class Stopped(AsJson):
    """What became of it. state: as `status` has it; "running" if the driver did not end in time. resume: the command."""

    sweep: str
    state: str
    line: str
    resume: str | None


def stop(directory: Path, say: Callable[[str], None], wait_s: float = WAIT_S) -> Stopped:
    """Ask the sweep's driver to stop, and wait until it has. `say`: gets a line as soon as it is asked.

    A sweep that does not run is left as it is. Raises OSError where a bucket does not answer.
    """
    storage = load_sweep(directory).storage
    found, alive = _look(directory)
    if not alive:
        return _stopped(found, f"does not run: {_why(found)}")
    driver = f"process {found.driver.pid} on {found.driver.host}" if found.driver else "its driver"
    request_stop(storage)
    say(f"{found.sweep}: {driver} is asked to stop; trials that run report once more, with their checkpoint")
    deadline = time.monotonic() + wait_s
    while alive and time.monotonic() < deadline:
        time.sleep(POLL_S if storage.path is not None else BEAT_S)
        found, alive = _look(directory)
        if alive and not stop_requested(storage):  # a driver that has just begun took it for an old one
            request_stop(storage)
    if alive:
        line = f"{found.sweep} still runs after {wait_s:.0f} s: {driver} has the request, and ends when it can"
        return Stopped(found.sweep, "running", line, None)
    return _stopped(found, "had just ended" if found.state == "finished" else "is stopped")


def _look(directory: Path) -> tuple[SweepStatus, bool]:
    """The sweep's state, and whether a driver runs it, here or elsewhere."""
    (found,) = status(directory.parent.parent, directory.name)
    return found, found.state == "running"


def _why(found: SweepStatus) -> str:
    if found.state == "unreadable":
        return str(found.reason)
    if found.reason == "killed" and found.driver:
        ago = "" if found.age_s is None else f", last seen {age(found.age_s)} ago"
        return f"its driver, process {found.driver.pid} on {found.driver.host}, is dead{ago}"
    return "it has not begun" if found.reason == "killed" else f"it is {found.state}"


def _stopped(found: SweepStatus, what: str) -> Stopped:
    goes_on = found.state in ("interrupted", "failed")
    resume = resume_command(found.directory) if goes_on else None
    line = f"{found.sweep} {what}" + (f"; go on with: {resume}" if resume else "")
    return Stopped(found.sweep, found.state, line, resume)
