"""Where every sweep stands, read off its directory alone: `fersweep status`.

A sweep is running while its driver holds `driver.lock`, whatever its journal says last: a driver that was killed wrote
no last word. Imports neither Ray nor MLflow nor a framework (only `sync` imports MLflow), so that looking takes no
longer than reading the journals.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.common.display.tables import table
from fersweep.common.errors import InputError
from fersweep.common.files import is_held
from fersweep.results.record.home import find_sweep, resume_command
from fersweep.results.record.journal import SweepRecord, read_events, trial_name
from fersweep.results.record.sweep_json import read_sweep_json

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError)  # what reading a broken record may raise
UNKNOWN = ("trials", "num_trials", "metric", "mode", "best", "epochs", "seen_at", "age_s", "driver", "resume", "sync")
COUNTED = ("finished", "stopped", "failed", "open", "epochs", "disk")


def status(home: Path, name: str | None = None) -> list[dict[str, Any]]:
    """What is known of each sweep under `home`, by name, or of `name` alone; JSON-able.

    Returns:
        `state`: running, interrupted, failed, finished or unreadable; `reason` (interrupted: "killed" or
        "interrupted"; failed: as its driver said; unreadable: what is wrong); `trials`: number by the journal's state, in which a trial is
        "running" until its end is recorded; `num_trials` asked; `best` {value, trial, epoch}; `epochs`; `disk_bytes`;
        `seen_at` (last sign of life, seconds since 1970) and `age_s`; `driver` {pid, host}, the last one; `resume`: the
        command that goes on; `sync`: filled by `sync`. None stands for what there is not, or cannot be read.

    Raises:
        InputError: there is no sweep `name`.
    """
    directories = [find_sweep(home, name)] if name else _sweeps(home)
    return [_describe(directory) for directory in directories]


def _sweeps(home: Path) -> list[Path]:
    """Directories of sweeps, whole or damaged; a launch prepares its own under a name that begins with a dot."""
    found = [path.parent for file in ("sweep.json", "journal.jsonl") for path in Path(home).glob(f"sweeps/*/{file}")]
    return sorted({directory for directory in found if not directory.name.startswith(".")})


def _describe(directory: Path) -> dict[str, Any]:
    known = {"sweep": directory.name, "directory": str(directory), "disk_bytes": _disk_bytes(directory)}
    found = {**known, "state": "unreadable", "reason": None, **dict.fromkeys(UNKNOWN)}
    try:
        return {**found, **_read(directory)}
    except DAMAGE as error:
        return {**found, "reason": _one_line(error)}


def _read(directory: Path) -> dict[str, Any]:
    running = is_held(directory / "driver.lock")  # before the journal: a driver that ends in between has its last word
    try:
        sweep = read_sweep_json(directory)
    except InputError as error:
        raise InputError(f"sweep.json is not a sweep's record: {_one_line(error.__cause__ or error)}") from error
    metric, mode, asked = sweep.metric, sweep.mode, sweep.asked.search.num_trials
    record, last_event, session = _replay(directory / "journal.jsonl")
    counts, ranked = record.count(), record.ranked(metric, mode)
    state, reason = _state(running, session)
    row = ranked[0].best(metric, mode) if ranked else None
    seen_at = max(filter(None, (last_event, _beat(directory / "heartbeat"))), default=None)
    goes_on = state in ("interrupted", "failed") or (state == "finished" and record.num_ended < asked)
    return {
        "state": state,
        "reason": reason,
        "trials": counts,
        "num_trials": asked,
        "metric": metric,
        "mode": mode,
        "best": {"value": row[metric], "trial": ranked[0].number, "epoch": int(row["epoch"])} if row else None,
        "epochs": record.num_epochs,
        "seen_at": seen_at,
        "age_s": None if seen_at is None else round(max(time.time() - seen_at, 0.0), 1),
        "driver": {"pid": session.get("pid"), "host": session.get("host")} if session else None,
        "resume": resume_command(directory) if goes_on else None,
    }


def _replay(path: Path) -> tuple[SweepRecord, float | None, dict[str, Any]]:
    """The folded journal, the time of its last event, its last session event. One pass: journals are long."""
    record, last_event, session, line = SweepRecord(), None, {}, 1
    try:
        for event in read_events(path):
            record.apply(event)
            last_event = float(event["time"])
            if event["event"] == "session":
                session = event
            line += 1
    except DAMAGE as error:
        raise InputError(f"{path.name}, line {line}: {_one_line(error)}") from error
    return record, last_event, session


def _state(running: bool, session: dict[str, Any]) -> tuple[str, str | None]:
    """State and reason. A journal that says "started", or nothing yet, without a driver: the driver was killed."""
    action = session.get("action")
    if running:
        return "running", None
    if action in ("finished", "failed"):
        return action, session.get("reason")
    return "interrupted", "interrupted" if action == "interrupted" else "killed"


def _ended(counts: dict[str, int]) -> int:
    return sum(counts.values()) - counts["running"]


def _beat(path: Path) -> float | None:
    """When the driver last touched its heartbeat, if it has one."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _disk_bytes(directory: Path) -> int:
    """Sum of the sizes of all files below; a running sweep may take some away meanwhile."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    total += _disk_bytes(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg})"
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def render(found: Sequence[dict[str, Any]], home: Path) -> RenderableType:
    """What `status` returned as tables for the terminal, and the commands that go on."""
    from rich.console import Group
    from rich.text import Text

    if not found:
        return Text(
            f"No sweeps in {home} yet. `fersweep launch quick --data DATASET` makes one, `fersweep demo` data too."
        )
    first, second = _table(["sweep", "state", "ended", "best", "trial", "seen"], 2), _table(["sweep", *COUNTED], 1)
    for one in found:
        first.add_row(*_overview(one))
        second.add_row(*_counts(one))
    return Group(first, second, *(Text(line) for line in map(_next, found) if line))


def _table(columns: Sequence[str], num_text: int) -> Table:
    """A table whose first column, names of any length, may break anywhere."""
    made = table(columns, num_text, wraps=columns[:1])
    made.columns[0].overflow = "fold"
    return made


def _overview(one: dict[str, Any]) -> list[str]:
    best, trials = one["best"], one["trials"]
    return [
        one["sweep"],
        one["state"],
        "–" if trials is None else f"{_ended(trials)}/{one['num_trials']}",
        f"{best['value']:.4f}" if best else "–",
        trial_name(best["trial"]) if best else "–",
        "–" if one["age_s"] is None else f"{_duration(one['age_s'])} ago",
    ]


def _counts(one: dict[str, Any]) -> list[str]:
    """A trial is open while its end is not recorded: it is in training, or its driver is gone."""
    from rich.filesize import decimal

    trials = one["trials"]
    numbers = [str(trials[state]) if trials else "–" for state in ("finished", "stopped", "failed", "running")]
    return [one["sweep"], *numbers, "–" if one["epochs"] is None else str(one["epochs"]), decimal(one["disk_bytes"])]


def _next(one: dict[str, Any]) -> str:
    """On a sweep that somebody may have to do something about; the command stands alone, to be copied."""
    driver = f" (process {one['driver']['pid']} on {one['driver']['host']})" if one["driver"] else ""
    if one["state"] == "unreadable":
        return f"{one['sweep']} is unreadable: {one['reason']}"
    if one["state"] == "running":
        return f"{one['sweep']} is running{driver}"
    if one["resume"] is None:
        return ""
    return f"{one['sweep']} {_why(one)}{driver if one['state'] != 'finished' else ''}; go on with\n  {one['resume']}"


def _why(one: dict[str, Any]) -> str:
    if one["state"] == "finished":
        return f"has {one['num_trials'] - _ended(one['trials'])} trials left"
    was = "failed" if one["state"] == "failed" else f"was {one['reason']}"
    ago = "" if one["age_s"] is None else f" {_duration(one['age_s'])} ago"
    return was + ago + (f", {one['reason']}" if one["state"] == "failed" and one["reason"] else "")


def _duration(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
