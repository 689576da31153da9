"""Own code that has changed since its sweep was launched: `resume` asks which version the trials from now on are to use."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import Code, asked_as
from fersweep.common.own_code.collect import collect
from fersweep.results.record.home import resume_command
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import SweepJson
from fersweep.search_spaces.sweep_file.own_code import CALLBACKS, METRICS, code_of, own_code, renamed
from fersweep.search_spaces.sweep_file.schema import Sweep


def settled(
    sweep: SweepJson, directory: Path, again: Sweep | None, accept: bool | None
) -> tuple[SweepJson, Sweep | None]:
    """The sweep with the code that it uses from now on, and the same of `again`, the sweep file as it is now, if any.

    `accept`: True: the changed code; False: the copy that the sweep has; None: InputError where that of its trials has changed. A
    metric's cannot be accepted. That of callbacks, on which no trial rests, is taken as it is now, but for `accept` False. Where
    the original is gone, the copy is used without a word.
    """
    for key, name in own_code(sweep.asked):
        copy = copies.find(name, key)
        now = _now(key, name, sweep, directory, again, accept)
        if now is None or now.name == name:
            continue
        size = difference(copy, now)
        if accept is not False and key != CALLBACKS:
            _refuse(key, now, size, sweep, directory, accept)
        chosen = copy if accept is False else now
        print(
            f"note: {key}: {now.place} has changed ({size}); the sweep goes on with "
            f"{'the copy of what it was' if chosen is copy else 'the changed code'} (sha256 {chosen.sha256[:12]})",
            file=sys.stderr,
        )
        copies.register(chosen)
        if chosen is now:
            sweep = sweep.model_copy(update={"asked": renamed(sweep.asked, key, name, now.name)})
        again = again and renamed(again, key, now.name, chosen.name)
    return sweep, again


def _refuse(key: str, now: Code, size: str, sweep: SweepJson, directory: Path, accept: bool | None) -> None:
    """InputError where the changed code of trials is not accepted, or is of a metric."""
    changed = f"{key}: {now.place} has changed since sweep {sweep.name!r} was launched ({size})"
    keep = f"`{resume_command(directory)} --keep-code` goes on with the copy that the sweep has"
    if key == METRICS:
        raise InputError(
            f"{changed}: values of before and of now cannot stand in one ranking: {keep}; launch a new sweep for the changed one"
        )
    if accept is None:
        raise InputError(f"{changed}: {keep}, --accept-code with the changed code, for all that is trained from now on")


def _now(
    key: str, name: str, sweep: SweepJson, directory: Path, again: Sweep | None, accept: bool | None
) -> Code | None:
    """The code as it is where the sweep was launched with it, or as the sweep file asks for it; None where it is gone, or where
    the copy is wanted. InputError where it cannot be used as it is now, or is gone and is to be accepted.
    """
    for key_again, asked in own_code(again) if again is not None else ():
        if key_again == key and asked_as(asked) == asked_as(name):
            return copies.find(asked, key)
    place = sweep.code_places.get(name, "")
    try:
        return collect(place if place.endswith(".py") else asked_as(name), key)
    except InputError as error:
        if accept is False or (accept is None and not os.path.lexists(place)):
            return None
        raise InputError(
            f"{error}; `{resume_command(directory)} --keep-code` goes on with the copy that the sweep has"
        ) from None


def write_missing(asked: Sweep, directory: Path, storage: Storage) -> None:
    """Copy the code that the sweep `asked` needs and its directory, or its bucket, lacks."""
    stored = storage.names(copies.DIRECTORY) if storage.path is None else []
    for code in code_of(asked):
        if storage.path is None and code.name not in stored:
            for path, content in copies.as_files(code).items():
                storage.write(path, content)
        if not (directory / copies.DIRECTORY / code.name).is_dir():
            copies.write(code, directory)


def difference(before: Code, now: Code) -> str:
    """`3 lines added, 1 removed`; `blocks.py: 3 lines added, 1 removed` where it is not in the file itself, or not in that alone."""
    added = removed = 0
    for path in sorted({*before.files, *now.files}):
        old, new = (code.files.get(path, b"").decode(errors="replace").splitlines() for code in (before, now))
        for line in difflib.ndiff(old, new):
            added, removed = added + line.startswith("+ "), removed + line.startswith("- ")
    changed = [path for path in sorted({*before.files, *now.files}) if before.sums.get(path) != now.sums.get(path)]
    which = f"{', '.join(changed)}: " if changed != [now.asked] else ""
    return f"{which}{added} line{'s' * (added != 1)} added, {removed} removed"
