"""A sweep from its start to its end, with the one that follows it (`then:`), and the exceptions of an early end.

    RuntimeError
      SweepFailed             a fault at run time ended it: a full disk, Ray, more failed trials than it allows, …
      SweepStopped            `fersweep stop` was said, or the process got SIGTERM, SIGHUP or SIGUSR1
    KeyboardInterrupt
      SweepInterrupted        Ctrl-C, or the interrupt of a notebook's kernel

Each has `sweep`, `state`, `error`, `signal` and `resume`. Nothing is lost: `fersweep.resume` goes on with the sweep.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.api.settings import say
from fersweep.common.own_code.code import is_own
from fersweep.common.versions import call

if TYPE_CHECKING:
    from fersweep.api.sweep import Sweep
    from fersweep.cluster.driver.run_sweep import Outcome
    from fersweep.search_spaces.sweep_file.schema import Sweep as SweepFile


class EndedEarly(BaseException):
    """What the three have in common: a sweep ended before all its trials had; all that was done is on disk.

    Attributes:
        directory: of the sweep.
        state: "failed" or "interrupted", as `fersweep.status` says it.
        error: what went wrong, where something did.
        signal: number of the signal that asked for it, where one did.
        all_failed: every trial failed: `retry_failed=True` runs them once more, with `accept_code=True` of a trainable of one's
            own that was mended.
        resume: the call that goes on with it.
    """

    def __init__(
        self,
        directory: Path,
        state: str,
        error: BaseException | str | None = None,
        signal: int | None = None,
        all_failed: bool = False,
        address: str | None = None,
    ):
        from fersweep.results.record.sweep_json import read_sweep_json

        self.directory, self.state, self.error, self.signal = directory, state, error, signal
        self.all_failed = all_failed
        home = directory.parent.parent
        own = all_failed and is_own(read_sweep_json(directory).asked.trainable)
        more: dict[str, Any] = {"retry_failed": all_failed, "accept_code": own, "address": address}
        if home.resolve() != Path("runs").resolve():
            more = {"home": str(home), **more}
        self.resume = call("resume", directory.name, **more)
        why = f": {' '.join(str(error).split())}" if error is not None else ""
        super().__init__(f"{directory.name} {self._what}{why}; nothing is lost; go on with {self.resume}")

    _what = "ended early"

    @property
    def sweep(self) -> Sweep:
        """What there is of it."""
        from fersweep.api.sweep import Sweep

        return Sweep(self.directory)


class SweepFailed(EndedEarly, RuntimeError):
    """A fault at run time ended the sweep."""

    _what = "failed"


class SweepStopped(EndedEarly, RuntimeError):
    """The sweep was asked to stop: by `fersweep stop`, or by a signal of its process."""

    _what = "was stopped"


class SweepInterrupted(EndedEarly, KeyboardInterrupt):
    """Ctrl-C, or the interrupt of a notebook's kernel, stopped the sweep."""

    _what = "was interrupted"


def outcomes(
    run: Callable[[], Outcome], follow: Callable[[Outcome, SweepFile], Outcome], address: str | None
) -> Iterator[Outcome]:
    """Run a sweep, then the one that follows it, if one does: how each ended. What prints meanwhile goes to stderr.

    Raises SweepFailed, SweepStopped, SweepInterrupted.
    """
    with redirect_stdout(sys.stderr):
        first = run()
    yield _finished(first, address)
    if first.following is not None:
        with redirect_stdout(sys.stderr):
            second = follow(first, first.following)
        yield _finished(second, address)


def _finished(outcome: Outcome, address: str | None) -> Outcome:
    if outcome.missing:
        say(outcome.missing)
    if outcome.state == "finished":
        return outcome
    kind = SweepFailed if outcome.error is not None else ended_by(outcome.signal)
    early = kind(outcome.directory, outcome.state, outcome.error, outcome.signal, outcome.all_failed, address)
    raise early from outcome.error


def ended_by(number: int | None) -> type[SweepStopped | SweepInterrupted]:
    return SweepInterrupted if number == signal.SIGINT else SweepStopped
