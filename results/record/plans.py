"""What a sweep was planned to take: `plans/NAME.json` under the home, which `launch` takes into `sweep.json`.

A plan is that of a sweep file's content and of a dataset: where either has changed since, it is no longer found.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fersweep.common.display.tables import duration
from fersweep.common.files import write_whole
from fersweep.search_spaces.sweep_file.schema import Sweep


class Planned(BaseModel):
    """Seconds from a sweep's first event to its last: the likely ones, and the range that the plan gave.

    Attributes:
        source: "calibration" or "past sweeps".
        at_once: trials at once that it was planned for.
        num_trials, max_epochs: that it was for; `resume` may change them.
        created: when, as ISO 8601.
    """

    model_config = ConfigDict(frozen=True)

    sweep_s: float
    low_s: float
    high_s: float
    source: str
    at_once: int
    num_trials: int
    max_epochs: int
    created: str

    def against(self, took_s: float) -> str:
        """`planned 12 min 00 s, took 13 min 00 s (8 % more)`."""
        off = took_s / self.sweep_s - 1 if self.sweep_s > 0 else 0.0
        how = "as planned" if abs(off) < 0.005 else f"{abs(off):.0%} {'more' if off > 0 else 'less'}".replace("%", " %")
        return f"planned {duration(self.sweep_s)}, took {duration(took_s)} ({how})"


def _key(sweep: Sweep, fingerprint: str) -> str:
    content = json.dumps([sweep.model_dump(mode="json"), fingerprint], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _path(home: Path, name: str) -> Path:
    return Path(home) / "plans" / f"{name}.json"


def save_plan(home: Path, sweep: Sweep, fingerprint: str, planned: Planned) -> None:
    """Write the plan of a sweep on a dataset of this fingerprint. Raises OSError."""
    content = {"key": _key(sweep, fingerprint), "planned": planned.model_dump(mode="json")}
    write_whole(_path(home, sweep.name), json.dumps(content, indent=1).encode())


def find_plan(home: Path, sweep: Sweep, fingerprint: str) -> Planned | None:
    """The plan of exactly this sweep and dataset; None where there is none that can be read."""
    try:
        content = json.loads(_path(home, sweep.name).read_bytes())
        if content["key"] != _key(sweep, fingerprint):
            return None
        return Planned.model_validate(content["planned"])
    except (OSError, ValueError, LookupError, TypeError, ValidationError):
        return None
