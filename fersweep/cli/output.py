"""What a verb prints and writes: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fersweep.common.text import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")


def show(result: T, render: Callable[[T], RenderableType] | None, as_json: bool) -> None:
    """Print a verb's result: JSON alone, or what `render` makes of it; None: as it is. An object's JSON is its
    `as_json()`, or its fields.
    """
    if as_json:
        import json

        print(json.dumps(result, indent=1, default=_as_json))
        return
    from fersweep.common.display.console import SafeConsole

    console = SafeConsole()
    console.print(result if render is None else render(result))


def _as_json(part: Any) -> Any:
    if hasattr(part, "as_json"):
        return part.as_json()
    return {field.name: getattr(part, field.name) for field in fields(part)}


def say(line: object) -> None:
    """Print a line, or several, on stderr."""
    print(printable_lines(line), file=sys.stderr)


def complain(message: object, code: int) -> int:
    """Print an error as one line; the exit code that goes with it."""
    if str(message):
        say(f"fersweep: {' '.join(str(message).split())}")
    return code


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and say so."""
    from fersweep.common.errors import InputError
    from fersweep.common.files import write_whole

    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    say(f"written: {printable(path)}")
