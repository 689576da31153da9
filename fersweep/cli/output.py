"""What a verb prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from fersweep.api.settings import say

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")
UNBOUND = 100_000  # characters of a line


def show(result: T, render: Callable[[T], RenderableType] | None, as_json: bool) -> None:
    """Print a verb's result: JSON alone (common/display/as_json.py), or what `render` makes of it; None: as it is."""
    if as_json:
        import json

        from fersweep.common.display.as_json import part

        print(json.dumps(result, indent=1, default=part))
        return
    from fersweep.common.display.console import SafeConsole

    console = SafeConsole()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNBOUND  # a pipe or a file has no width
    console.print(result if render is None else render(result))


@contextmanager
def progress_bar(what: str, wanted: bool = True) -> Iterator[Callable[[str, float], None]]:
    """A callback that takes what is done next and the share that is done, and draws them on a terminal at stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(f"{what}:"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not (wanted and console.is_terminal)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda step, done: bar.update(task, description=step, completed=done, refresh=True)


def complain(message: object, code: int) -> int:
    """Print an error as one line; the exit code that goes with it."""
    if str(message):
        say(f"fersweep: {' '.join(str(message).split())}")
    return code
