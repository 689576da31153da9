"""The process that records a sweep in MLflow: `python -m fersweep.results.tracking.recorder_process SWEEP_DIR --parent PID`.

It reads `journal.jsonl` as it grows and brings MLflow level with it (projection.py). The driver only appends to its
journal, so neither MLflow nor its server can slow a sweep down or break it, and the driver imports no MLflow:

    recorder = Recorder(sweep_dir)
    recorder.start()            # returns at once
    recorder.check()            # every few seconds: starts it again if it died
    missing = recorder.finish() # after the sweep's last event; None: MLflow holds all of it

A recording that failed or was missed is made good at any time by `record(sweep_dir)`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fersweep.common.files import is_held, lock
from fersweep.common.processes import yield_to_the_sweep
from fersweep.results.mlflow_store import connection
from fersweep.results.record.drivers import LOCK
from fersweep.results.record.sweep_json import FILE as SWEEP
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.results.tracking.lag import WHOLE, LevelFile, store_of, sync_command
from fersweep.results.tracking.projection import Projection
from fersweep.results.tracking.recorder import log
from fersweep.results.tracking.report_upload import start_report

POLL_S = 0.5
PAUSE = 6  # pause before the next write, in times of the last one: at most a seventh of a core while the sweep runs,
MAX_PAUSE_S = 30.0  # unless a write takes long
MAX_WAIT_S = 10.0  # between two tries to reach a store that is away
PATIENCE_S = 20.0  # for which `record` tries a store that is away
LEFT_ALONE_S = 600.0  # for which a recorder tries it after the end of its sweep


class NotRecorded(RuntimeError):
    """MLflow lacks a part of a sweep. The message is one line: why, and the command that makes it good."""


class NeverRecorded(NotRecorded):
    """MLflow refuses a whole sweep for good: to try again is in vain. The message is one line."""


def record(
    sweep_dir: Path,
    parent_pid: int | None = None,
    patience_s: float = PATIENCE_S,
    closed: Callable[[], None] = lambda: None,
) -> bool:
    """Bring MLflow level with the journal of `sweep_dir`, and keep it so while the process `parent_pid` drives it.

    `closed` is called where MLflow holds all but pictures, which are drawn last.

    Returns when that driver's session has ended or the driver is gone, everything written. Without `parent_pid`:
    writes what there is and returns. A store that fails is tried again, for ever while the driver lives and its
    session goes on, and `patience_s` seconds after.

    Returns:
        True: MLflow holds all that the journal says, but what it refuses for good (lag.missing says it). False: another recorder is
        at work on this sweep, or another driver, which has its own; it is left to that one. Or the sweep was removed.

    Raises:
        NotRecorded: the store did not take everything; NeverRecorded: nor will it.
    """
    try:
        alone = lock(Path(sweep_dir) / "recorder.lock", wait_s=0 if parent_pid is None else None)
    except TimeoutError:
        return False
    with alone, connection.without_fluent_environment():
        return _Recording(Path(sweep_dir), parent_pid, patience_s, closed).run()


class _Recording:
    """What `record` does when no other recorder is at work."""

    def __init__(self, sweep_dir: Path, parent_pid: int | None, patience_s: float, closed: Callable[[], None]):
        self.sweep_dir, self.parent_pid, self.patience_s, self.closed = sweep_dir, parent_pid, patience_s, closed
        sweep = read_sweep_json(sweep_dir)
        self.level = LevelFile(sweep_dir, store_of(sweep))
        self.projection = Projection(sweep_dir, self._beat)
        self.alive_at = time.monotonic()  # the last progress
        self.trouble = _Trouble(sweep_dir, connection.sweep_store(sweep)[0], quiet=parent_pid is None)
        self.due, self.offset = 0.0, -1  # when to write again; up to where was written
        self.give_up_at: float | None = None

    def run(self) -> bool:
        while True:
            driven = self.parent_pid is not None and os.getppid() == self.parent_pid
            if self._is_removed():
                return False
            try:
                self.projection.read()
                last = not driven or self._session_has_ended()
                elsewhere = not driven and self._is_driven_by_another()
                if elsewhere and self.parent_pid is not None:
                    return False
                if last or (self.projection.offset != self.offset and time.monotonic() >= self.due):
                    self._write(closing=last and not elsewhere)
                if last:
                    self._once_closed()
                self._draw(all_of_them=last)
            except Exception as error:
                self._wait(error, driven and not self._session_has_ended())
                continue
            self.trouble.over()
            if last:
                return True
            time.sleep(POLL_S)

    def _beat(self, done: int) -> None:
        self.alive_at = time.monotonic()
        self.level.beat(done)

    def _session_has_ended(self) -> bool:
        return self.projection.session_pid == self.parent_pid and self.projection.record.action != "started"

    def _is_removed(self) -> bool:
        """The sweep's directory is no more: nothing is to be made where it was."""
        return not (self.sweep_dir / SWEEP).exists()

    def _is_driven_by_another(self) -> bool:
        """A driver runs the sweep that is not our parent; its recorder, if it lives, waits for our end."""
        return self.projection.session_pid != self.parent_pid and is_held(self.sweep_dir / LOCK)

    def _write(self, closing: bool) -> None:
        start = time.monotonic()
        self.projection.write(closing)
        self.offset = self.projection.offset
        self.level.written(self.offset, closing, self.projection.refused)
        self.due = time.monotonic() + min(PAUSE * (time.monotonic() - start), MAX_PAUSE_S)

    def _once_closed(self) -> None:
        closed, self.closed = self.closed, lambda: None
        closed()

    def _draw(self, all_of_them: bool) -> None:
        """The pictures that are missing, of one trial or of all: while the sweep runs, its epochs come first."""
        if self.offset < 0:
            return
        trials = list(self.projection.without_pictures())
        for done, trial in enumerate(trials):
            if self._is_removed():
                return
            if all_of_them:
                self.level.pictures(len(trials) - done)
            self.projection.draw(trial)
            self.alive_at = time.monotonic()
            if not all_of_them:
                return
        self.level.pictures(0)

    def _wait(self, error: Exception, driven: bool) -> None:
        """Until the next try. Raises NotRecorded where there is none."""
        if reason := connection.refusal(error):
            self.level.failed(reason, {WHOLE: reason})
            raise NeverRecorded(f"MLflow can never record this sweep: {reason}") from error
        self.projection.forget()
        self.offset = -1
        line, wait_s = self.trouble.met(error)
        self.level.failed(line)
        if driven:
            self.give_up_at = None
        else:
            since = self.alive_at if self.parent_pid is None else time.monotonic()  # a request may have waited long
            self.give_up_at = self.give_up_at or since + self.patience_s
            if time.monotonic() >= self.give_up_at:
                raise NotRecorded(
                    f"MLflow lacks a part of this sweep: {line}; made good by: {sync_command(self.sweep_dir)}"
                ) from error
            wait_s = min(wait_s, max(self.give_up_at - time.monotonic(), 0.0))
        time.sleep(wait_s)


class _Trouble:
    """Writes a store's trouble into the log once, not at each try, and when it is over."""

    def __init__(self, sweep_dir: Path, uri: str, quiet: bool):
        self.sweep_dir, self.uri, self.quiet = sweep_dir, uri, quiet
        self._kinds: set[str] = set()
        self._since, self._tries = 0.0, 0

    def met(self, error: Exception) -> tuple[str, float]:
        """The trouble in a line, and how long to wait."""
        line = connection.one_line(error, self.uri)
        kind = re.sub(r"0x[0-9a-f]+|[0-9a-f]{32}|\d+", "#", line)
        self._since = self._since or time.monotonic()
        self._tries += 1
        if kind not in self._kinds:
            self._kinds.add(kind)
            self._say(f"{line}; trying again")
        return line, min(POLL_S * 2.0**self._tries, MAX_WAIT_S)

    def over(self) -> None:
        if self._tries:
            self._say(f"level again after {time.monotonic() - self._since:.0f} s, {self._tries} failed tries")
        self._kinds.clear()
        self._since, self._tries = 0.0, 0

    def _say(self, text: str) -> None:
        if not self.quiet:
            log(self.sweep_dir, text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fersweep.results.tracking.recorder_process", description="Record a sweep in MLflow."
    )
    parser.add_argument("sweep_dir", type=Path)
    parser.add_argument(
        "--parent",
        type=int,
        help="process that drives the sweep; record until it is done or gone",
    )
    options = parser.parse_args(arguments)
    yield_to_the_sweep()
    try:
        record(options.sweep_dir, options.parent, LEFT_ALONE_S, lambda: start_report(options.sweep_dir))
    except Exception as error:
        log(
            options.sweep_dir,
            f"given up: {error if isinstance(error, NotRecorded) else connection.one_line(error, '')}",
        )
        return 0 if isinstance(error, NeverRecorded) else 1  # the driver starts it again after a failure
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
