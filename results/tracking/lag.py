"""What MLflow lacks of a sweep, read from its directory alone: `recorder.json`, which the recorder keeps.

It says up to which byte of the journal MLflow was level at the last writing, and what went wrong since. It is a hint for
whoever waits for the recorder or wants to know why MLflow is behind; the recorder itself never reads it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from fersweep.common.files import replacing
from fersweep.common.text import shell
from fersweep.results.mlflow_store.connection import home_of
from fersweep.results.record.home import home_option

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

    offset: int = 0
    closed: bool = False
    beat: float = 0.0
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
        if abs(time.time() - self._level.beat) > BEAT_S:  # the clock may be set back
            self._write(self._level.model_copy(update={"beat": time.time()}))

    def failed(self, error: str) -> None:
        self._write(self._level.model_copy(update={"error": error, "closed": False}))

    def _write(self, level: Level) -> None:
        """Write `level`, unless the file has it already, up to a beat that is hardly newer."""
        same = level.model_copy(update={"beat": self._level.beat}) == self._level
        if same and abs(level.beat - self._level.beat) < BEAT_S:
            return
        self._level = level
        with contextlib.suppress(OSError), replacing(self._path) as temporary:  # not synced: the disk is the journal's
            temporary.write_text(json.dumps(level.model_dump()))


def read_level(sweep_dir: Path) -> Level:
    """The level that was written last; that of an empty store if there is none, or none that can be read."""
    try:
        return Level.model_validate_json((Path(sweep_dir) / FILE).read_bytes())
    except (OSError, ValueError):
        return Level()


def missing(sweep_dir: Path, why: str = "") -> str | None:
    """A line on what MLflow lacks of a sweep that no driver runs, why, and how that is made good; None: nothing.

    `why`: the reason where the recorder gives none.
    """
    level = read_level(sweep_dir)
    events = list(_events_after(Path(sweep_dir) / "journal.jsonl", level.offset))
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


def _events_after(path: Path, offset: int) -> Iterator[dict[str, Any]]:
    """The events after byte `offset`, whole lines only."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset if offset <= path.stat().st_size else 0)
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def _count(items: set[Any], word: str) -> str:
    return f"{len(items)} {word}{'' if len(items) == 1 else 's'}"
