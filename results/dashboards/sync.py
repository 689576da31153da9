"""Bring MLflow, and callbacks, level with the journals of sweeps that are not running: `fersweep status --sync`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from fersweep.common.errors import InputError
from fersweep.common.files import check_writable, is_held
from fersweep.results.callbacks.delivered import behind, keyed, trouble
from fersweep.results.callbacks.processes import SYNC_S, Callbacks
from fersweep.results.dashboards.status import SweepStatus
from fersweep.results.record.home import check_home, check_links
from fersweep.results.record.sweep_json import read_sweep_json


class Synced(NamedTuple):
    """sweep: with its `sync` filled. line: the same for a person."""

    sweep: SweepStatus
    line: str
    failed: bool


def sync(sweeps: Iterable[SweepStatus]) -> Iterator[Synced]:
    """Bring MLflow level with the journal of each sweep; closes runs that a dead driver left open.

    A running sweep has a recorder of its own. Raises InputError where the home cannot be written.
    """
    sweeps = list(sweeps)
    for home in {sweep.directory.parents[1] for sweep in sweeps}:
        check_home(home)
    unreachable: dict[str, str] = {}  # tracking address → what is wrong there, so that a server is waited for only once
    for sweep in sweeps:
        failure, text = None, "level"
        try:
            if sweep.state == "running" or is_held(sweep.directory / "recorder.lock"):
                text = "left to the recorder that is at work"
            elif sweep.state == "unreadable":
                failure = f"unreadable: {sweep.reason}"
            else:
                failure = _record(sweep.directory, unreachable)
                late, sweep = _deliver(sweep)
                failure = "; ".join(filter(None, (failure, *late))) or None
        except (InputError, OSError) as error:  # the other sweeps are none the worse
            failure = f"cannot be recorded: {error}"
        text = failure or text
        line = f"{sweep.sweep}: {'MLflow is level with the journal' if text == 'level' else text}"
        yield Synced(replace(sweep, sync=text), line, failure is not None)


def _deliver(sweep: SweepStatus) -> tuple[list[str], SweepStatus]:
    """Have the sweep's callbacks hear of what they have not → lines on what they still lack, and the sweep with what is said of
    them now.
    """
    recorded = read_sweep_json(sweep.directory)
    if not any(behind(sweep.directory, key) for key in keyed(recorded.asked)):
        return [], sweep
    callbacks = Callbacks(sweep.directory, recorded.asked, recorded.storage(sweep.directory), driven=False)
    callbacks.start()
    lines = callbacks.finish(SYNC_S)
    return lines, replace(sweep, callbacks=trouble(sweep.directory, recorded.asked, running=False))


def _record(directory: Path, unreachable: dict[str, str]) -> str | None:
    """Record one sweep → why MLflow lacks a part of it, or None."""
    from fersweep.results.mlflow_store import connection
    from fersweep.results.tracking import recorder_process
    from fersweep.results.tracking.lag import missing

    check_writable(directory, str(directory))
    try:
        sweep = read_sweep_json(directory)
    except InputError as error:  # it was readable a moment ago
        return f"unreadable: {error}"
    check_links(directory)
    uri, _ = connection.sweep_store(sweep)
    if uri not in unreachable:
        try:
            connection.open_store(sweep)
            unreachable[uri] = ""
        except Exception as error:  # stores raise what their drivers raise
            if reason := connection.refusal(error):  # of this sweep alone
                return f"MLflow can never record this sweep: {reason}"
            unreachable[uri] = f"MLflow cannot be reached: {connection.one_line(error, uri)}"
    if not unreachable[uri]:
        try:
            return missing(directory) if recorder_process.record(directory) else None
        except (recorder_process.NotRecorded, InputError, OSError) as error:  # the other sweeps are none the worse
            return str(error)
    return unreachable[uri]
