"""Imported by each worker of a Ray of ours when it starts: it imports what the sweep's trials need, before one is there.

Ray can only import modules in a new worker (its `preload_python_modules`), so importing this one does something: the file that
FERSWEEP_WARM_UP names says what. What cannot be imported is left to the trial, which says why.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import threading
from pathlib import Path

FILE = "FERSWEEP_WARM_UP"
READY = ".ready."
"""In the names of files beside that one, which a worker makes when it has imported what it should."""


READY_S = 0.2  # after it, in which the worker begins to wait for work


def warm_up(file: str) -> None:
    """Import what `file` says, for the number of threads that it says. Ray sets OMP_NUM_THREADS with the trial."""
    threads, *modules = json.loads(Path(file).read_text()) or ["1"]
    own = "OMP_NUM_THREADS" in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        if not own:
            del os.environ["OMP_NUM_THREADS"]


def _say_so(file: str) -> None:
    with contextlib.suppress(OSError):
        Path(file).touch()


if FILE in os.environ:
    with contextlib.suppress(Exception):
        warm_up(os.environ[FILE])
    ready = threading.Timer(READY_S, _say_so, [f"{os.environ[FILE]}{READY}{os.getpid()}"])
    ready.daemon = True
    ready.start()
