"""Run own code so that what it does to the whole process is its own error, in a line, and not the end of the process."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from fersweep.common.errors import InputError
from fersweep.common.own_code.importing import exits_raise

STDOUT = 1


class _Stdout:
    """stderr, under the name of stdout, which is for JSON: cannot be closed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def close(self) -> NoReturn:
        raise ValueError("stdout is not to be closed")


@contextlib.contextmanager
def contained(where: str = "") -> Iterator[None]:
    """What is printed in the block goes to stderr, and no thread that is started in it is waited for at the end of the process.
    SystemExit where it calls `os._exit`; InputError, which begins with `where`, where it closes stdout or leaves the working
    directory, which is put right. A process that it forks ends at the end of the block.
    """
    process = os.getpid()
    here, stdout, is_open = os.getcwd(), sys.stdout, _is_open()
    try:
        with exits_raise(), _daemons(), contextlib.redirect_stdout(_Stdout()):  # pyright: ignore[reportArgumentType]
            yield
    finally:
        if os.getpid() != process:  # it has forked: what comes after its part is for this process alone
            os._exit(0)
        has_moved, has_closed = os.getcwd() != here, (is_open and not _is_open()) or stdout.closed
        if has_moved:
            os.chdir(here)
        if has_closed:
            if not _is_open():
                os.open(os.devnull, os.O_RDWR)  # which gets the lowest number that is free
            sys.stdout = open(STDOUT, "w", closefd=False)  # noqa: SIM115 - as long as the process
    if has_moved:
        raise InputError(
            f"{where}it changes the working directory (os.chdir), which is not its own: paths begin at files.path"
        )
    if has_closed:
        raise InputError(f"{where}it closes stdout, which is not its own")


@contextlib.contextmanager
def _daemons() -> Iterator[None]:
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        thread.daemon = True
        begin(thread)

    threading.Thread.start = start  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        threading.Thread.start = begin


def _is_open() -> bool:
    try:
        os.fstat(STDOUT)
    except OSError:
        return False
    return True


def _say_nothing(_: object) -> None: ...


@contextlib.contextmanager
def quiet_end() -> Iterator[None]:
    """Say nothing of what a generator raises where it is not ended, but forgotten."""
    before, sys.unraisablehook = sys.unraisablehook, _say_nothing
    try:
        yield
    finally:
        sys.unraisablehook = before
