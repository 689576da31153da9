"""What a terminal does to a process: Ctrl-C and a hang-up, and streams that are closed or that nobody reads any more."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

NOBODY_READS = (errno.EPIPE, errno.EIO)  # the end of a pipe is closed; the terminal is gone
_interrupts: list[int] = []  # the Ctrl-Cs since the last `interrupts` began


@contextmanager
def interrupts() -> Iterator[None]:
    """While the block runs, Ctrl-C raises KeyboardInterrupt, as ever, and is remembered (`interrupted`): a library may
    swallow the exception where it is in the middle of an import.
    """
    _interrupts.clear()
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted() -> bool:
    """Whether there was a Ctrl-C since the last `interrupts` began, but for those that another handler took."""
    return bool(_interrupts)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _interrupts.append(number)
    raise KeyboardInterrupt


@contextmanager
def deferred() -> Iterator[None]:
    """A Ctrl-C in the block is acted on at its end, a second one ends the process at once. Processes that are started in
    the block outlive a hang-up of the terminal.

    For native code that an exception in the middle would leave half-made.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        if len(noted) > 1:
            end_at_once()

    before = signal.getsignal(signal.SIGINT)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # which their processes inherit
    if callable(before):
        signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        if callable(before):
            signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if noted:
            signal.raise_signal(signal.SIGINT)


def end_at_once(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """End this process as after a Ctrl-C, without a look back. May be a signal's handler."""
    try:
        os.write(2, b"fersweep: interrupted\n")
    finally:
        os._exit(128 + number)


def open_streams() -> None:
    """Send what is closed of stdin, stdout and stderr to nowhere: the next file that is opened would take its place.
    A stderr that nobody reads any more raises nothing.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, io.TextIOWrapper(io.FileIO(descriptor, mode, closefd=False), write_through=True))
    sys.stderr = forgiving(sys.stderr)


def forgiving(stream: TextIO) -> TextIO:
    """The process's stdout or stderr, as one that raises nothing where nobody reads any more; another stream as it is."""
    if stream not in (sys.__stdout__, sys.__stderr__):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Unread(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.isatty() or stream is sys.__stderr__,
    )


class _Unread(io.FileIO):
    def write(self, data: Any, /) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in NOBODY_READS:
                to_nowhere(self.fileno())
            return len(memoryview(data))


def to_nowhere(descriptor: int) -> None:
    """Send what is written to a file descriptor from now on to nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
