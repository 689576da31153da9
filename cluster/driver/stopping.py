"""How a sweep is stopped before its end: by a signal, `fersweep stop`, an error, or a cluster that is gone.

After the first Ctrl-C or SIGTERM, or a request, no trial is handed out, and those that run save and report once more. The second one
ends the sweep at once; at most one report of each running trial is lost.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

GRACE_S = 20.0  # for running trials to report once more; machines that are taken away often give 30


class Stopping:
    """Whether and why a run is to stop. `error`: what went wrong in the driver; `signal`: which one it got."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.signal: int | None = None
        self.since: float | None = None

    @property
    def asked(self) -> bool:
        return self.since is not None

    def ask(self) -> None:
        self.since = self.since or time.monotonic()

    def request(self) -> None:
        """Stop as after a Ctrl-C: somebody said `fersweep stop`."""
        if not self.asked:
            self.ask()
            print("stopping, as `fersweep stop` asks: running trials report once more", file=sys.stderr, flush=True)

    def due(self, num_active: int) -> bool:
        """Whether the run is to end now, with this many trials that have not reported yet."""
        if self.since is None:
            return False
        return self.error is not None or num_active == 0 or time.monotonic() - self.since > GRACE_S

    @contextlib.contextmanager
    def on_error(self) -> Iterator[None]:
        """For what the driver does when Tune calls: Tune would hide an exception; here it stops the run."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error
            self.ask()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM request a stop while the block runs; the second one raises KeyboardInterrupt."""
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self.signal = self.signal is not None, self.signal or number
        self.ask()
        if again:
            raise KeyboardInterrupt
        print("stopping: running trials report once more (again: at once)", file=sys.stderr, flush=True)
