"""What runs here, for the records: the version of fersweep, its commit where it runs from a checkout, and how it was called."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from typing import Any, cast

from fersweep.common.processes import ROOT
from fersweep.common.text import shell

LONGEST_ARGUMENT = 200  # characters of an argument
_command: ContextVar[str | None] = ContextVar("command", default=None)


def own_version() -> str:
    """As installed; "unknown" of a checkout that is not."""
    try:
        return metadata.version("fersweep")
    except metadata.PackageNotFoundError:
        return "unknown"


def installed(names: Iterable[str]) -> dict[str, str]:
    """Package → version, of those that are installed; imports none of them."""
    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def own() -> str:
    """Version and commit in one: "0.1.0", or "0.1.0, commit 76c0d88…"."""
    commit = own_commit()
    return own_version() + (f", commit {commit}" if commit else "")


def own_commit() -> str | None:
    """The commit of fersweep's own checkout; None where it is installed, also below somebody else's repository."""
    if not (ROOT / ".git").exists() or not (ROOT / "fersweep" / "common").is_symlink():  # as it is in a checkout alone
        return None
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return None
    return git.stdout.strip() or None


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
    plain = isinstance(value, bool | int | float | str | list | tuple | dict)
    text = repr(cast("object", value) if plain else str(value))
    return text if len(text) <= LONGEST_ARGUMENT else f"{text[:LONGEST_ARGUMENT]}…"
