"""What does not end is ended: a hang fails one test, with a traceback of where it hung, and not the whole run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class Hangs(BaseException):
    """Raised in whatever does not end; no `except Exception` can swallow it."""


@contextlib.contextmanager
def ending(seconds: int) -> Iterator[None]:
    """Raise Hangs in the block if it has not ended by then."""

    def stop(*_: object) -> None:
        raise Hangs

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
