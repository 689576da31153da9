"""A function or a class of own code, as a sweep file names it: `my_metrics.py:cost`, `package.module:cost`, an entry point.

name = resolve_part("my_metrics.py:cost", "stop.metric", "fersweep.metrics", "FUNCTION")     # my_metrics.py@3f2a9c81d0e4:cost
part_of(name, "stop.metric")                                                                # the function: its code is run
"""

from __future__ import annotations

import inspect
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError, hint
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import PART, is_own_part, split_part
from fersweep.common.own_code.collect import collect
from fersweep.common.own_code.importing import imported, place_of


def resolve_part(asked: str, what: str, group: str, kind: str, beside: Path | None = None) -> str:
    """Its name with the digits of its code, which `part_of` knows from then on. Raises InputError.

    `asked` may have its digits already. group: of entry points; kind: FUNCTION or CLASS, for messages; beside: the folder in
    which a file is looked for first.
    """
    if is_own_part(asked) and copies.is_known(split_part(asked)[0]):
        return asked
    entries = {entry.name: entry.value for entry in entry_points(group=group)}
    match = PART.fullmatch(entries.get(asked, asked))
    if match is None:
        raise InputError(
            f"{what}: {asked} names no {kind.lower()}: want FILE.py:{kind}, package.module:{kind}, or an entry point of the group {group}"
        )
    code = collect(match["code"], what, beside)
    copies.register(code)
    return f"{code.name}:{match['part']}"


def part_of(name: str, what: str) -> Any:
    """What is called so; the first time its code is run. Raises InputError where that fails, or has no such thing."""
    code_name, part = split_part(name)
    code = copies.find(code_name, what)
    module = imported(code, what)
    if not hasattr(module, part):
        known = [
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == module.__name__
        ]
        raise InputError(
            f"{what}: {code.asked} has no {part}; {hint(part, known, 'it has') if known else 'it has none'}"
        )
    return getattr(module, part)


def check_runs(function: object, what: str) -> None:
    """Raises InputError where to call it runs none of it: an `async def`, or a function with `yield`."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise InputError(f"{what} is an `async def`{place_of(function)}, which nobody awaits: want a plain def")
    if inspect.isgeneratorfunction(function):
        raise InputError(f"{what} has a `yield`{place_of(function)}, so that a call runs none of it: want return")
