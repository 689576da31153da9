"""What a verb prints and writes: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fersweep.common.text import masked, printable, printable_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")
UNBOUND = 100_000  # characters of a line


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
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNBOUND  # a pipe or a file has no width
    console.print(result if render is None else render(result))


def _as_json(part: Any) -> Any:
    if hasattr(part, "as_json"):
        return part.as_json()
    return {field.name: getattr(part, field.name) for field in fields(part)}


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[str, float], None]]:
    """A callback that takes what is done next and the share that is done, and draws them on a terminal at stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(f"{what}:"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda step, done: bar.update(task, description=step, completed=done, refresh=True)


def say(line: object) -> None:
    """Print a line, or several, on stderr, without the passwords in addresses."""
    print(masked(printable_lines(line)), file=sys.stderr)


def complain(message: object, code: int) -> int:
    """Print an error as one line; the exit code that goes with it."""
    if str(message):
        say(f"fersweep: {' '.join(str(message).split())}")
    return code


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and say so."""
    from fersweep.common.files import cannot_write, write_whole

    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise cannot_write(path, error) from None
    say(f"written: {printable(path)}")
