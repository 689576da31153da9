"""How far a callback has heard: `callbacks/KEY.json` in a sweep's directory, which its process keeps."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fersweep.common.errors import InputError
from fersweep.common.files import replacing
from fersweep.common.text import shell
from fersweep.common.untrusted import MB, read_regular
from fersweep.results.record.home import home_option
from fersweep.results.record.journal import events_after
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.sections.callbacks import Callback

DIRECTORY, LOG = "callbacks", "callbacks.log"
HEARD = ("sampled", "report", "ended", "session")  # events that a callback hears of
MOST_SAID = 20  # kinds of trouble that are kept


class Delivered(BaseModel):
    """Attributes:
    offset: bytes of the journal that it has heard.
    tries: how often the event at `offset` was begun to be delivered.
    said: what went wrong, one line a kind.
    """

    model_config = ConfigDict(frozen=True)

    offset: int = Field(default=0, ge=0, lt=2**63)
    tries: int = Field(default=0, ge=0, lt=2**31)
    said: list[str] = []


def keyed(asked: Sweep) -> dict[str, Callback]:
    """Key → callback: `my_callbacks.py-Slack`, which stays when its code changes; the second of a class has `-2` at its end."""
    found: dict[str, Callback] = {}
    for callback in asked.callbacks:
        plain = callback.shown.replace(":", "-")
        numbers = (f"{plain}-{number}" for number in range(2, len(asked.callbacks) + 1))
        found[plain if plain not in found else next(key for key in numbers if key not in found)] = callback
    return found


def path_of(sweep_dir: Path, key: str) -> Path:
    return Path(sweep_dir) / DIRECTORY / f"{key}.json"


def read(sweep_dir: Path, key: str) -> Delivered:
    """That of a callback that has heard nothing where there is no such file, or none that can be read."""
    try:
        return Delivered.model_validate_json(read_regular(path_of(sweep_dir, key), MB))
    except (OSError, ValueError):
        return Delivered()


def write(sweep_dir: Path, key: str, delivered: Delivered) -> None:
    """Raises OSError."""
    with replacing(path_of(sweep_dir, key)) as temporary:  # not synced: at worst an event comes twice
        temporary.write_text(json.dumps(delivered.model_dump()))


def behind(sweep_dir: Path, key: str) -> int:
    """How many events a callback has not heard of."""
    try:
        events = events_after(Path(sweep_dir) / "journal.jsonl", read(sweep_dir, key).offset)
        return sum(event["event"] in HEARD for event, _ in events)
    except InputError:  # the journal is damaged, which is said elsewhere
        return 0


def not_delivered(late: int) -> str:
    """`3 events were not delivered`."""
    return f"{late} event{'s were' if late > 1 else ' was'} not delivered"


def trouble(sweep_dir: Path, asked: Sweep, running: bool) -> list[str]:
    """Lines on callbacks that have failed, or, of a sweep that is not `running`, lack something."""
    lines: list[str] = []
    for key, callback in keyed(asked).items():
        said, late = read(sweep_dir, key).said, 0 if running else behind(sweep_dir, key)
        parts = [f"{not_delivered(late)}; made good by: {sync_command(sweep_dir)}"] if late else []
        if said:
            more = f", and {len(said) - 1} more" if len(said) > 1 else ""
            parts.append(f"{said[0]}{more} ({LOG} in the sweep's directory)")
        if parts:
            lines.append(f"{callback.shown}: {'; '.join(parts)}")
    return lines


def sync_command(sweep_dir: Path) -> str:
    """The command that delivers what is missing."""
    directory = Path(sweep_dir)
    return f"{shell('fersweep', 'status', directory.name, '--sync')}{home_option(directory.parent.parent)}"
