"""What a sweep was planned to take: `plans/NAME.json` under the home, which `launch` takes into `sweep.json`.

A plan is that of a sweep file's content and of a dataset: where either has changed since, it is no longer found.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from fersweep.common.files import write_whole
from fersweep.common.untrusted import MB, parse_json, read_regular
from fersweep.results.record.sweep_json import Planned
from fersweep.search_spaces.sweep_file.schema import Sweep


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
        content = parse_json(read_regular(_path(home, sweep.name), MB))
        if content["key"] != _key(sweep, fingerprint):
            return None
        return Planned.model_validate(content["planned"])
    except (OSError, ValueError, LookupError, TypeError, ValidationError):
        return None
