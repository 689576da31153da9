"""Directories of sweeps that are being removed or renamed: hidden, so that no verb takes half a sweep for a sweep.

`sweeps/cnn` becomes `sweeps/.cnn.3f2a9c81.removed`, and only then is anything of it removed; what a kill leaves is removed
by the same command once more, or by `fersweep gc`. `sweeps/.cnn.3f2a9c81.moved` is a sweep between two names.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.files import check_writable, lock
from fersweep.results.record.drivers import LOCK, MOMENT_S, alone
from fersweep.results.record.sweep_json import FILE, SweepJson
from fersweep.results.tracking import report_upload

REMOVED, MOVED = "removed", "moved"
MOVE = "move.json"  # in the directory of a sweep that is being renamed: {"from": OLD, "to": NEW}
HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<id>[0-9a-zA-Z_-]{1,8})\.(?P<what>removed|moved)")
RECORDER_LOCK = "recorder.lock"
WAIT_S = 60.0  # for the recorder, and the page, of a sweep that has just ended
TRIES = 5


def hidden_path(directory: Path, sweep_id: str, what: str) -> Path:
    """Where a sweep's directory is while it is removed or moved."""
    return directory.with_name(f".{directory.name}.{sweep_id[:8]}.{what}")


def hidden(home: Path, what: str, name: str | None = None) -> list[Path]:
    """Directories of sweeps that were being removed, or moved, when that broke off; `name`: of this one alone."""
    sweeps = Path(home) / "sweeps"
    found: list[Path] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in sorted(os.listdir(sweeps)):
            match = HIDDEN.fullmatch(entry)
            if match and match["what"] == what and name in (None, match["name"]):
                found.append(sweeps / entry)
    return found


def is_hidden(path: Path) -> bool:
    """Is it the directory of a sweep that is being removed or moved?"""
    return HIDDEN.fullmatch(path.name) is not None


def name_of_hidden(path: Path) -> str:
    """The name of the sweep whose hidden directory this is."""
    match = HIDDEN.fullmatch(path.name)
    return match["name"] if match else path.name


@contextlib.contextmanager
def held(directory: Path, sweep: SweepJson | None) -> Iterator[None]:
    """Hold a sweep that nobody runs, records, or makes a page of, until the block ends: nobody begins to.

    Raises InputError where somebody does, or nothing can be written there. `sweep`: None where its record is damaged.
    """
    check_writable(directory, str(directory))
    with contextlib.ExitStack() as stack:
        if sweep is not None and (directory / FILE).is_file():
            stack.enter_context(alone(directory, sweep.storage(directory)))
        else:
            stack.enter_context(_taken(directory / LOCK, MOMENT_S, "another process is running this sweep"))
        stack.enter_context(_taken(directory / RECORDER_LOCK, WAIT_S, "its recorder still writes to MLflow"))
        stack.enter_context(_taken(directory / report_upload.LOCK, WAIT_S, "its report is being written"))
        yield


@contextlib.contextmanager
def _taken(path: Path, wait_s: float, otherwise: str) -> Iterator[None]:
    """Hold a lock; who has it is waited for, of which stderr hears."""
    try:
        taken = lock(path, MOMENT_S)
    except TimeoutError:
        reason = f"{path.parent}: {otherwise}"
        if wait_s > MOMENT_S:
            print(f"{reason}; waiting for its end, up to {wait_s:.0f} s", file=sys.stderr, flush=True)
        try:
            taken = lock(path, wait_s - MOMENT_S if wait_s > MOMENT_S else 0)
        except TimeoutError:
            raise InputError(f"{reason}: wait for its end") from None
    with taken:
        yield


def remove_hidden(path: Path) -> None:
    """Remove a directory, `sweep.json` last: with it, what broke off can be finished. A link goes, what it leads to stays."""
    if path.is_symlink():
        path.unlink()
        return
    for attempt in range(TRIES):
        for entry in sorted(path.iterdir()):
            if entry.name != FILE:
                remove_tree(entry)
        with contextlib.suppress(FileNotFoundError):
            (path / FILE).unlink()
        try:
            path.rmdir()
            return
        except OSError:  # somebody wrote a file meanwhile
            if attempt == TRIES - 1:
                raise
            time.sleep(0.1)


def remove_tree(path: Path) -> None:
    """Remove a file, a link, or a directory with all that is in it; nothing where there is none."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)
