"""Bring MLflow level with the journals of sweeps that are not running: `fersweep status --sync`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fersweep.common.files import is_held
from fersweep.results.record.sweep_json import read_sweep_json


def sync(found: Sequence[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """Bring MLflow level with the journal of each sweep that `status` found; closes runs that a dead driver left open.

    Fills `sync` of each with "level", or why not. A running sweep has a recorder of its own.

    Yields:
        A line for each sweep, and whether it went well.
    """
    away: dict[str, str] = {}  # tracking address → what was wrong there, so that a server is waited for only once
    for one in found:
        failure = None
        if one["state"] == "running" or is_held(Path(one["directory"]) / "recorder.lock"):
            one["sync"] = "left to the recorder that is at work"
        elif one["state"] == "unreadable":
            one["sync"] = failure = f"unreadable: {one['reason']}"
        else:
            failure = _record(Path(one["directory"]), away)
            one["sync"] = failure or "level"
        yield (
            f"{one['sweep']}: {'MLflow is level with the journal' if one['sync'] == 'level' else one['sync']}",
            not failure,
        )


def _record(directory: Path, away: dict[str, str]) -> str | None:
    """Record one sweep → why MLflow lacks a part of it, or None."""
    from fersweep.results.mlflow_store import connection
    from fersweep.results.tracking import recorder_process

    sweep = read_sweep_json(directory)
    uri, _ = connection.sweep_store(sweep)
    if uri not in away:
        try:
            connection.open_store(sweep)
            away[uri] = ""
        except Exception as error:  # stores raise what their drivers raise
            away[uri] = f"MLflow cannot be reached: {connection.one_line(error, uri)}"
    if not away[uri]:
        try:
            recorder_process.record(directory)
        except recorder_process.NotRecorded as error:
            return str(error)
    return away[uri] or None
