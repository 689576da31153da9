"""The recorder as its driver sees it: a child process that is started, watched and ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from fersweep.common.processes import Restarted, environment, module_command
from fersweep.common.text import masked
from fersweep.results.tracking.lag import is_level, missing, read_level, waiting

FINISH_S = 60.0
AWAY_S = 30.0  # the same where the store does not answer: the recorder goes on by itself
TELL_S, TELL_EACH_S = 3.0, 10.0  # until whoever waits hears for what, and between two lines
LOG = "recorder.log"


class Recorder:
    """The recorder process of a sweep, as its driver sees it. MLflow being away is no error here, and nothing waits
    for it but `finish`. `check` and `finish` may be called from different threads.
    """

    def __init__(self, sweep_dir: Path):
        self.sweep_dir = Path(sweep_dir)
        self._child = Restarted(
            lambda: start_recorder(self.sweep_dir),
            lambda how: log(self.sweep_dir, f"the recorder died ({how}); started again"),
        )

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def start(self) -> None:
        """Start the process; it may precede the sweep's first event."""
        self._child.start()

    def check(self) -> None:
        """Start the process again if it died. Returns at once."""
        self._child.check()

    def finish(
        self,
        timeout_s: float = FINISH_S,
        tell: Callable[[str], None] = lambda _: None,
        left: Callable[[], bool] = lambda: False,
    ) -> str | None:
        """Wait until MLflow holds all of the sweep but pictures, but not longer than `timeout_s` without any progress.

        The process goes on by itself where this gives up. To be called after the session's last event.

        Args:
            tell: gets a line now and then: what is waited for, and how much of it is done.
            left: whether nobody wants to wait any more.

        Returns:
            None, or one line: what MLflow lacks, why, and how that is made good.
        """
        beat, since, tell_at = 0.0, time.monotonic(), time.monotonic() + TELL_S
        patience_s = timeout_s
        while time.monotonic() - since < patience_s and not left():
            self.check()
            if self._child.has_ended:
                break
            level = read_level(self.sweep_dir)
            if is_level(self.sweep_dir, level):
                break
            if level.beat != beat:
                beat, since = level.beat, time.monotonic()
            patience_s = min(timeout_s, AWAY_S) if level.error else timeout_s
            if time.monotonic() >= tell_at:
                tell_at = time.monotonic() + TELL_EACH_S
                tell(waiting(self.sweep_dir, level))
            time.sleep(0.05)
        lacking = missing(self.sweep_dir, "its recorder is still at it" if self._child.is_alive else "")
        self._child.leave()
        return lacking


def log(sweep_dir: Path, text: str) -> None:
    """A line of the log, which the driver and its recorders share."""
    with contextlib.suppress(OSError), open_log(sweep_dir) as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {masked(text)}\n".encode(errors="backslashreplace"))


def open_log(sweep_dir: Path) -> BinaryIO:
    """The log, to be written at its end; nowhere, if something else than a file has its name. Raises OSError."""
    path = Path(sweep_dir) / LOG
    if path.exists() and not path.is_file():
        return open(os.devnull, "ab")
    return path.open("ab")


def start_recorder(sweep_dir: Path) -> subprocess.Popen[bytes]:
    """Run `python -m fersweep.results.tracking.recorder_process` on `sweep_dir` as a child of this process.

    It tails the journal, so it may be started before the first event. It is in a process group of its own: a Ctrl-C
    that ends the driver leaves it alive to write what is left. (Not in a session of its own: Linux shares the CPUs
    among sessions first, and there its low priority would count for nothing; see sched(7), "autogroup".) Its
    errors go to `recorder.log` in `sweep_dir`.
    """
    module = "fersweep.results.tracking.recorder_process"
    command = module_command(module, Path(sweep_dir).resolve(), "--parent", os.getpid())
    with open_log(sweep_dir) as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment(),
            process_group=0,
        )
