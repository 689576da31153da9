"""How the program was called: what a sweep, a dataset and a job keep as their `command`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from fersweep.common.text import shell

LONGEST = 200  # characters of an argument
_command: ContextVar[str | None] = ContextVar("command", default=None)


def command() -> str:
    """The command line, or, within `called`, the call in Python."""
    return _command.get() or shell("fersweep", *sys.argv[1:])


@contextmanager
def called(text: str) -> Iterator[None]:
    """While the block runs, `command` is this text; an outer block wins."""
    token = _command.set(_command.get() or text)
    try:
        yield
    finally:
        _command.reset(token)


def call(function: str, *arguments: Any, **options: Any) -> str:
    """`fersweep.launch('cnn', data='runs/data/fer2013')`: without the options that are None or False."""
    given = [_shown(value) for value in arguments]
    given += [f"{name}={_shown(value)}" for name, value in options.items() if value is not None and value is not False]
    return f"fersweep.{function}({', '.join(given)})"


def _shown(value: Any) -> str:
    text = repr(value if isinstance(value, bool | int | float | str | list | tuple | dict) else str(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
