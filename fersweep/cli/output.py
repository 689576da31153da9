"""What a verb prints and writes: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def show(result: Any, render: Any, as_json: bool) -> None:
    """Print a verb's result: JSON alone (an object's is its `as_json()`), or what `render` makes of it."""
    if as_json:
        import json

        print(json.dumps(result.as_json() if hasattr(result, "as_json") else result, indent=1))
        return
    from rich.console import Console

    console = Console()
    console.print(render(result))


def say(line: object) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr)


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
    say(f"written: {path}")
