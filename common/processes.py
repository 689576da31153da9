"""Processes of ours: silent C++ libraries, modules run on their own, threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere. Python's own exceptions are not lost: they are raised, not printed."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


ROOT = Path(__file__).resolve().parents[1]


def run_module(module: str, *arguments: object, otherwise: str) -> None:
    """Run it to its end. RuntimeError, beginning with `otherwise`, with the last line that it said if it failed."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RuntimeError(f"{otherwise}: {last}")


def num_threads() -> int:
    """CPU threads of a trial: OMP_NUM_THREADS, which Ray sets, or all of the machine's."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
