"""Own code that has changed since its sweep was launched: `resume` asks which version the trials from now on are to use."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import Code, asked_as
from fersweep.common.own_code.collect import collect
from fersweep.results.record.home import resume_command
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import SweepJson
from fersweep.search_spaces.sweep_file.own_code import own_code, renamed
from fersweep.search_spaces.sweep_file.schema import Sweep


def settled(
    sweep: SweepJson, directory: Path, storage: Storage, again: Sweep | None, accept: bool | None
) -> tuple[SweepJson, Sweep | None]:
    """The sweep with the code that its trials use from now on, and the same of `again`, the sweep file as it is now, if any.

    `accept`: True: the changed code, which is copied beside the first; False: the copy; None: InputError where the code has
    changed. Where the original is gone, the copy is used without a word.
    """
    for key, name in own_code(sweep.asked).items():
        copy = copies.find(name, key)
        now = _now(key, name, sweep, again)
        if now is None or now.name == name:
            continue
        size = difference(copy, now)
        if accept is None:
            raise InputError(
                f"{key}: {now.place} has changed since sweep {sweep.name!r} was launched ({size}): "
                f"`{resume_command(directory)} --keep-code` goes on with the copy that the sweep has, --accept-code with the "
                "changed code, for all that is trained from now on"
            )
        chosen = now if accept else copy
        print(
            f"note: {key}: {now.place} has changed ({size}); the sweep goes on with "
            f"{'the changed code' if accept else 'the copy of what it was'} (sha256 {chosen.sha256[:12]})",
            file=sys.stderr,
        )
        copies.register(chosen)
        if accept:
            copies.write(now, directory)
            if storage.path is None:
                for path, content in copies.as_files(now).items():
                    storage.write(path, content)
            places = {**sweep.code_places, now.name: now.place}
            sweep = sweep.model_copy(update={"asked": renamed(sweep.asked, key, now.name), "code_places": places})
        again = again and renamed(again, key, chosen.name)
    return sweep, again


def _now(key: str, name: str, sweep: SweepJson, again: Sweep | None) -> Code | None:
    """The code as it is where the sweep was launched with it, or as the sweep file asks for it; None where it is gone."""
    asked = own_code(again).get(key) if again is not None else None
    if asked is not None and asked_as(asked) == asked_as(name):
        return copies.find(asked, key)
    place = sweep.code_places.get(name, "")
    try:
        return collect(place if place.endswith(".py") else asked_as(name), key)
    except InputError:
        return None


def difference(before: Code, now: Code) -> str:
    """`3 lines added, 1 removed`."""
    added = removed = 0
    for path in sorted({*before.files, *now.files}):
        old, new = (code.files.get(path, b"").decode(errors="replace").splitlines() for code in (before, now))
        for line in difflib.ndiff(old, new):
            added, removed = added + line.startswith("+ "), removed + line.startswith("- ")
    return f"{added} line{'s' * (added != 1)} added, {removed} removed"
