"""What MLflow lacks of a sweep, read from its directory alone: `recorder.json`, which the recorder keeps.

It says up to which byte of the journal MLflow was level at the last writing, and what went wrong since. It is a hint for
whoever waits for the recorder or wants to know why MLflow is behind; the recorder itself never reads it.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from fersweep.common.files import replacing
from fersweep.common.text import shell
from fersweep.common.untrusted import MB, read_regular
from fersweep.results.mlflow_store.connection import home_of
from fersweep.results.record.home import home_option
from fersweep.results.record.journal import events_after

FILE = "recorder.json"
BEAT_S = 1.0


class Level(BaseModel):
    """The content of `recorder.json`.

    Attributes:
        offset: bytes of the journal that MLflow holds.
        closed: whether MLflow shows no run of the sweep as running.
        beat: time of the last progress, seconds since 1970.
        error: what went wrong since, in a line.
    """

    model_config = ConfigDict(frozen=True)

    offset: int = Field(default=0, ge=0, lt=2**63)
    closed: bool = False
    beat: FiniteFloat = 0.0
    error: str | None = None


class LevelFile:
    """The writer of `recorder.json`. What the disk refuses is let go: nothing depends on it."""

    def __init__(self, sweep_dir: Path):
        self._path = Path(sweep_dir) / FILE
        self._level = read_level(sweep_dir)

    def written(self, offset: int, closed: bool) -> None:
        """MLflow holds the journal up to byte `offset`; `closed`: and shows no run of it as running."""
        self._write(Level(offset=offset, closed=closed, beat=time.time()))

    def beat(self) -> None:
        """A step of a long write is done."""
        if time.time() - self._level.beat > BEAT_S:
            self._write(self._level.model_copy(update={"beat": time.time()}))

    def failed(self, error: str) -> None:
        self._write(self._level.model_copy(update={"error": error, "closed": False}))

    def _write(self, level: Level) -> None:
        """Write `level`, unless the file has it already, up to a beat that is hardly newer."""
        same = level.model_copy(update={"beat": self._level.beat}) == self._level
        if same and level.beat - self._level.beat < BEAT_S:
            return
        self._level = level
        with contextlib.suppress(OSError), replacing(self._path) as temporary:  # not synced: the disk is the journal's
            temporary.write_text(json.dumps(level.model_dump()))


def read_level(sweep_dir: Path) -> Level:
    """The level that was written last; that of an empty store if there is none, or none that can be read."""
    try:
        return Level.model_validate_json(read_regular(Path(sweep_dir) / FILE, MB))
    except (OSError, ValueError):
        return Level()


def missing(sweep_dir: Path, why: str = "") -> str | None:
    """A line on what MLflow lacks of a sweep that no driver runs, why, and how that is made good; None: nothing.

    `why`: the reason where the recorder gives none.
    """
    level = read_level(sweep_dir)
    path = Path(sweep_dir) / "journal.jsonl"
    size = path.stat().st_size if path.is_file() else 0
    events = [event for event, _ in events_after(path, level.offset if level.offset <= size else 0)]
    if not events and level.closed:
        return None
    trials = {event["trial"] for event in events if "trial" in event}
    epochs = {(event["trial"], row["epoch"]) for event in events if "trial" in event for row in event.get("epochs", ())}
    what = f"up to {_count(epochs, 'epoch')} of {_count(trials, 'trial')}" if trials else "the end of the sweep"
    why = level.error or why
    return f"MLflow lacks {what}{f' ({why})' if why else ''}; made good by: {sync_command(sweep_dir)}"


def sync_command(sweep_dir: Path) -> str:
    """The command that brings MLflow level with the sweep's journal."""
    return f"{shell('fersweep', 'status', Path(sweep_dir).resolve().name)} --sync{home_option(home_of(sweep_dir))}"


def _count(items: set[Any], word: str) -> str:
    return f"{len(items)} {word}{'' if len(items) == 1 else 's'}"
