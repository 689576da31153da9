"""What MLflow lacks of a sweep, read from its directory alone: `recorder.json`, which the recorder keeps.

It says up to which byte of the journal MLflow was level at the last writing, and what went wrong since. It is a hint for
whoever waits for the recorder or wants to know why MLflow is behind; the recorder itself never reads it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from fersweep.common.errors import InputError
from fersweep.common.files import replacing
from fersweep.common.text import masked, shell
from fersweep.common.untrusted import MB, read_regular
from fersweep.results.mlflow_store import connection
from fersweep.results.mlflow_store.connection import home_of
from fersweep.results.record.home import home_option
from fersweep.results.record.journal import SweepRecord, events_after
from fersweep.results.record.sweep_json import SweepJson, read_sweep_json

FILE = "recorder.json"
WHOLE, PARENT = "the sweep", "the sweep's own run"  # among what is refused
BEAT_S = 1.0


class Level(BaseModel):
    """The content of `recorder.json`.

    Attributes:
        offset: bytes of the journal that MLflow holds.
        closed: whether MLflow shows no run of the sweep as running.
        beat: time of the last progress, seconds since 1970.
        error: what went wrong since, in a line.
        refused: what MLflow takes never (a trial's name, WHOLE or PARENT) → why.
        done: number of trials that the write at work has dealt with.
        store: where, as `store_of` says it; "" in older files.
        pictures: number of ended trials that lack theirs, of a sweep that is closed.
    """

    model_config = ConfigDict(frozen=True)

    offset: int = Field(default=0, ge=0, lt=2**63)
    closed: bool = False
    beat: FiniteFloat = 0.0
    error: str | None = None
    refused: dict[str, str] = {}
    done: int = 0
    store: str = ""
    pictures: int = Field(default=0, ge=0, lt=2**31)


class LevelFile:
    """The writer of `recorder.json`. What the disk refuses is let go: nothing depends on it."""

    def __init__(self, sweep_dir: Path, store: str = ""):
        self._path, self._store = Path(sweep_dir) / FILE, store
        self._level = read_level(sweep_dir, store)

    def written(self, offset: int, closed: bool, refused: dict[str, str] | None = None) -> None:
        """MLflow holds the journal up to byte `offset`, without what it refuses; `closed`: and shows no run of it as
        running.
        """
        self._write(
            Level(offset=offset, closed=closed, beat=time.time(), refused=dict(refused or {}), store=self._store)
        )

    def beat(self, done: int) -> None:
        """A step of a long write is done, and with it `done` trials."""
        self._now_and_then(done=done)

    def pictures(self, left: int) -> None:
        """So many trials lack their pictures."""
        if left and self._level.pictures:
            self._now_and_then(pictures=left)
        elif left != self._level.pictures:
            self._write(self._level.model_copy(update={"pictures": left}))

    def _now_and_then(self, **update: int) -> None:
        if abs(time.time() - self._level.beat) > BEAT_S:  # the clock may be set back
            self._write(self._level.model_copy(update={"beat": time.time(), **update}))

    def failed(self, error: str, refused: dict[str, str] | None = None) -> None:
        """Nothing was written, as `error` says; `refused`: what never can be."""
        update = {"error": error, "closed": False, "refused": refused or self._level.refused}
        self._write(self._level.model_copy(update=update))

    def _write(self, level: Level) -> None:
        """Write `level`, unless the file has it already, up to a beat that is hardly newer."""
        same = level.model_copy(update={"beat": self._level.beat}) == self._level
        if same and abs(level.beat - self._level.beat) < BEAT_S:
            return
        self._level = level
        with contextlib.suppress(OSError), replacing(self._path) as temporary:  # not synced: the disk is the journal's
            temporary.write_text(json.dumps(level.model_dump()))


def store_of(sweep: SweepJson) -> str:
    """Which store a sweep is recorded in, in words that stay the same where its home is moved."""
    return f"{masked(sweep.asked.tracking.uri or 'embedded')} {connection.sweep_store(sweep)[1]}"


def read_level(sweep_dir: Path, store: str = "") -> Level:
    """The level that was written last, of `store` if it is given; that of an empty store if there is none, or none that
    can be read.
    """
    try:
        level = Level.model_validate_json(read_regular(Path(sweep_dir) / FILE, MB))
    except (OSError, ValueError):
        return Level(store=store)
    return level if level.store in ("", store) or not store else Level(store=store)


def missing(sweep_dir: Path, why: str = "") -> str | None:
    """A line on what MLflow lacks of a sweep that no driver runs, why, and how that is made good, or that it never can be;
    None: nothing.

    `why`: the reason where the recorder gives none.
    """
    level = _level(sweep_dir)
    events = list(_events_after(Path(sweep_dir) / "journal.jsonl", level.offset))
    parts: list[str] = []
    if level.refused:
        parts.append(f"MLflow can never record {refused(level)}")
    if WHOLE not in level.refused and (events or not level.closed):
        trials = {event["trial"] for event in events if "trial" in event}
        epochs = {
            (event["trial"], row["epoch"]) for event in events if "trial" in event for row in event.get("epochs", ())
        }
        what = f"up to {_count(epochs, 'epoch')} of {_count(trials, 'trial')}" if trials else "the end of the sweep"
        why = level.error or why
        parts.append(f"MLflow lacks {what}{f' ({why})' if why else ''}; made good by: {sync_command(sweep_dir)}")
    return "; ".join(parts) or None


def recorded(sweep_dir: Path, record: SweepRecord, running: bool) -> str | None:
    """What MLflow lacks, for `status`, in words: what is late, and what can never be recorded; None: nothing.

    Of a sweep that is `running`, whose recorder is always a little behind, only what went wrong.
    """
    level = _level(sweep_dir)
    parts = [f"can never be recorded: {refused(level)}"] if level.refused else []
    events = list(_events_after(Path(sweep_dir) / "journal.jsonl", level.offset))
    if WHOLE not in level.refused and (level.error if running else events or not level.closed):
        behind = {event["trial"] for event in events if "trial" in event}
        num_recorded = len(record.trials) - len(
            behind | {n for n, t in record.trials.items() if t.name in level.refused}
        )
        late = f"{num_recorded} of {_count(record.trials, 'trial')} recorded, late: {_count(events, 'event')} behind"
        parts.append(f"{late} ({level.error})" if level.error else late)
    if level.pictures and not running:
        parts.append(f"{_count(range(level.pictures), 'trial')} without pictures yet")
    return "; ".join(parts) or None


def is_level(sweep_dir: Path, level: Level) -> bool:
    """Whether MLflow holds all of a sweep's journal, whose driver has ended, but what it refuses for good, and pictures."""
    return level.closed and not any(_events_after(Path(sweep_dir) / "journal.jsonl", level.offset))


def waiting(sweep_dir: Path, level: Level) -> str:
    """What a driver that has ended its sweep waits for."""
    trials = sum(event["event"] == "sampled" for event in _events_after(Path(sweep_dir) / "journal.jsonl", 0))
    what = f"{level.error}; trying again" if level.error else f"{level.done:,} of {trials:,} trials are recorded"
    return f"waiting for MLflow: {what} (Ctrl-C leaves it to: {sync_command(sweep_dir)})"


def refused(level: Level) -> str:
    """What MLflow takes never, and why: the first reason stands for all."""
    (what, reason), more = next(iter(level.refused.items())), len(level.refused) - 1
    return f"{what if what in (WHOLE, PARENT) else f'trial {what}'}{f' and {more} more' if more else ''}: {reason}"


def _level(sweep_dir: Path) -> Level:
    """The level in the store that the sweep names now."""
    try:
        return read_level(sweep_dir, store_of(read_sweep_json(sweep_dir)))
    except InputError:
        return read_level(sweep_dir)


def sync_command(sweep_dir: Path) -> str:
    """The command that brings MLflow level with the sweep's journal."""
    return f"{shell('fersweep', 'status', Path(sweep_dir).resolve().name)} --sync{home_option(home_of(sweep_dir))}"


def _events_after(path: Path, offset: int) -> Iterator[dict[str, Any]]:
    """The events after byte `offset`, whole lines only; all of a journal that is shorter."""
    size = path.stat().st_size if path.is_file() else 0
    for event, _ in events_after(path, offset if offset <= size else 0):
        yield event


def _count(items: Sized, word: str) -> str:
    return f"{len(items):,} {word}{'' if len(items) == 1 else 's'}"
