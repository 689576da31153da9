"""The process that records a sweep in MLflow: `python -m results.tracking SWEEP_DIR --parent PID`.

It reads `journal.jsonl` as it grows and brings MLflow level with it (projection.py). The driver only appends to its
journal, so neither MLflow nor its server can slow a sweep down or break it, and the driver imports no MLflow:

    recorder = start_recorder(sweep_dir)    # returns at once; ends itself after the sweep's last event
    recorder.wait()                         # until MLflow holds all of it

A recording that failed or was missed is made good at any time by `record(sweep_dir)`.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from results.projection import Projection

POLL_S = 0.5
PAUSE = 6  # times as long as a write took is waited before the next: at most a seventh of a core while the sweep runs
RETRIES = 5


def start_recorder(sweep_dir: Path) -> subprocess.Popen[bytes]:
    """Run `python -m results.tracking` on `sweep_dir` as a child of this process.

    It tails the journal, so it may be started before the first event. It is in a process group of its own: a Ctrl-C
    that ends the driver leaves it alive to write what is left. (Not in a session of its own: Linux shares the CPUs
    among sessions first, and there its low priority would count for nothing; see sched(7), "autogroup".) Its
    complaints go to `recorder.log` in `sweep_dir`.
    """
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [
        sys.executable,
        "-m",
        "results.tracking",
        str(Path(sweep_dir).resolve()),
        "--parent",
        str(os.getpid()),
    ]
    with (Path(sweep_dir) / "recorder.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            process_group=0,
        )


def record(sweep_dir: Path, parent_pid: int | None = None) -> None:
    """Bring MLflow level with the journal of `sweep_dir`, and keep it so while the process `parent_pid` drives it.

    Returns when that driver's session has ended or the driver is gone, everything written. Without a driver: writes
    what there is and returns; nothing is done when another recorder is at work. A store that fails is tried again,
    for ever while the driver lives and RETRIES times after; then its error is raised.
    """
    with _alone(Path(sweep_dir), wait=parent_pid is not None) as alone:
        projection, failures, due = None, 0, 0.0
        while alone:
            driven = parent_pid is not None and os.getppid() == parent_pid
            try:
                projection = projection or Projection(sweep_dir)
                projection.read()
                ended = projection.session_pid == parent_pid and projection.record.action != "started"
                if ended or not driven or time.monotonic() >= due:
                    start = time.monotonic()
                    projection.write(closing=ended or not driven)
                    due = time.monotonic() + PAUSE * (time.monotonic() - start)
                failures = 0
            except Exception as error:
                projection, failures = None, failures + 1
                if not driven and failures > RETRIES:
                    raise
                traceback.print_exception(error, limit=None if failures == 1 else 0)
                time.sleep(min(2.0**failures, 60.0) * POLL_S)
                continue
            if ended or not driven:
                return
            time.sleep(POLL_S)


@contextmanager
def _alone(sweep_dir: Path, wait: bool) -> Iterator[bool]:
    """True while this process is the sweep's only recorder; False if another is and we do not wait for its end."""
    with (sweep_dir / "recorder.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _yield_to_the_sweep() -> None:
    """Take what CPU time the sweep leaves; Ray runs its workers at niceness 15, next to which 19 is not low enough."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):  # Linux
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m results.tracking", description="Record a sweep in MLflow.")
    parser.add_argument("sweep_dir", type=Path)
    parser.add_argument(
        "--parent",
        type=int,
        help="process that drives the sweep; record until it is done or gone",
    )
    options = parser.parse_args(arguments)
    _yield_to_the_sweep()
    record(options.sweep_dir, options.parent)


if __name__ == "__main__":
    main(sys.argv[1:])
