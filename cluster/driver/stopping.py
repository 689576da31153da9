"""How a sweep is stopped before its end: by a signal, `fersweep stop`, an error, or a cluster that is gone.

After the first Ctrl-C, SIGTERM, SIGHUP or SIGUSR1, or a request, no trial is handed out, and those that run save and report once more. The second one
ends the sweep at once; at most one report of each running trial is lost.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from fersweep.common.display.terminal import interrupted

# SIGHUP: the terminal is closed; SIGUSR1: a scheduler's warning that the time is nearly up.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
GRACE_S = 20.0  # for running trials to report once more; machines that are taken away often give 30


class Stopping:
    """Whether and why a run is to stop. `error`: what went wrong in the driver; `signal`: which one it got; `ending`: no
    trial runs any more, and only MLflow is waited for; `left`: a signal came then.
    """

    def __init__(self) -> None:
        self.ending = self.left = False
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
        """SIGINT, SIGTERM, SIGHUP and SIGUSR1 request a stop while the block runs; the second one raises KeyboardInterrupt.

        In another thread than the main one they belong to the program that runs it. SIGHUP that is ignored (`nohup`)
        stays ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self.take_signals()
        try:
            if interrupted():
                raise KeyboardInterrupt  # which a library has swallowed
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def take_signals(self) -> None:
        """Set the handlers, where they can be set; again when `tune.run` has begun, which takes SIGUSR1 for itself."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.ending:
            self.left = True
            return
        again, self.signal = self.signal is not None, self.signal or number
        self.ask()
        if again:
            raise KeyboardInterrupt
        print("stopping: running trials report once more (again: at once)", file=sys.stderr, flush=True)
