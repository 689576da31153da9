"""Before a model's own code is run: is it of this home, or has it been accepted?

A checkpoint of a trainable of somebody's own has that code beside it, and opening the model runs it. Code of this home's sweeps and of
its embedded registry is this user's. Any other, of a registry on a server, of a directory that came from elsewhere, is run once
its digits are in FERSWEEP_ACCEPT_CODE. What this process runs already needs nobody's leave.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import DIGITS, is_own
from fersweep.common.own_code.importing import is_loaded
from fersweep.results.record.home import sweep_directories

ACCEPT = "FERSWEEP_ACCEPT_CODE"


def admit(spec: str, described: dict[str, Any], checkpoint: Path, home: Path, is_ours: bool = False) -> None:
    """Have the code of a model known to this process. InputError where it must be accepted first.

    Args:
        described: its model.json.
        is_ours: it comes from this home.
    """
    members: list[dict[str, Any]] = described.get("members") or []
    for index, part in enumerate([described, *members]):
        directory = checkpoint if index == 0 else checkpoint / f"member-{index - 1}"
        copies.note(directory)
        name: object = part.get("trainable")
        if not is_own(name) or is_ours or is_loaded(name) or _is_accepted(name) or _is_of_a_sweep(name, home):
            continue
        code = copies.find(name, spec)
        raise InputError(
            f"{spec}: it is made by code of its own, {name} ({code.num_lines} lines in {directory / copies.DIRECTORY / name}), "
            f"which this home does not know and opening the model runs: read it, then accept it with {ACCEPT}={name[-DIGITS:]}"
        )


def _is_accepted(name: str) -> bool:
    return name[-DIGITS:] in os.environ.get(ACCEPT, "").replace(",", " ").split()


def _is_of_a_sweep(name: str, home: Path) -> bool:
    return any((sweep / copies.DIRECTORY / name).is_dir() for sweep in sweep_directories(home))
