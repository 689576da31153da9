"""Hold a sweep that is removed or renamed, and remove a directory that is hidden meanwhile (record/home.py: `hidden_path`)."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.files import check_writable, lock
from fersweep.results.record.drivers import DRIVEN, KEEPER, LOCK, MOMENT_S, alone, kept_by
from fersweep.results.record.home import begun, name_of_hidden
from fersweep.results.record.sweep_json import FILE, SweepJson
from fersweep.results.tracking import report_upload

RECORDER_LOCK = "recorder.lock"
WAIT_S = 60.0  # for the recorder, and the page, of a sweep that has just ended
TRIES = 5
LAST = (KEEPER, LOCK, FILE)


@contextlib.contextmanager
def held(directory: Path, sweep: SweepJson | None, what: str) -> Iterator[None]:
    """Hold a sweep that nobody runs, records, or makes a page of, until the block ends: nobody begins to.

    Raises InputError where somebody does, it is there no more, or nothing can be written there. `sweep`: None where its
    record is damaged; `what`: becomes of it, "removed" or "renamed", for others to be told.
    """
    place = directory.resolve()  # of a link, which is renamed alone
    with contextlib.ExitStack() as stack:
        try:
            check_writable(directory, str(directory))
            if sweep is not None and (directory / FILE).is_file():
                stack.enter_context(alone(directory, sweep.storage(directory)))
            else:
                stack.enter_context(_taken(directory / LOCK, MOMENT_S, DRIVEN))
            stack.enter_context(
                _taken(directory / RECORDER_LOCK, WAIT_S, "its recorder still writes to MLflow: wait for its end")
            )
            stack.enter_context(
                _taken(directory / report_upload.LOCK, WAIT_S, "its report is being written: wait for its end")
            )
            (directory / KEEPER).write_text(f"{what} {os.getpid()} {socket.gethostname()}")
        except (InputError, OSError):
            if os.path.lexists(directory):
                raise
            now = begun(directory.parents[1], directory.name) or [
                f"{name_of_hidden(directory)} was removed or renamed by another process meanwhile"
            ]
            raise InputError(now[0]) from None
        try:
            yield
        finally:
            (place / KEEPER).unlink(missing_ok=True)


@contextlib.contextmanager
def _taken(path: Path, wait_s: float, otherwise: str) -> Iterator[None]:
    """Hold a lock; who has it is waited for, of which stderr hears."""
    try:
        taken = lock(path, MOMENT_S)
    except TimeoutError:
        kept = kept_by(path.parent)
        reason = f"{path.parent}: {otherwise}" if kept is None else f"{path.parent} is {kept}: wait for its end"
        if wait_s > MOMENT_S:
            print(f"{reason}, up to {wait_s:.0f} s", file=sys.stderr, flush=True)
        try:
            taken = lock(path, wait_s - MOMENT_S if wait_s > MOMENT_S else 0)
        except TimeoutError:
            raise InputError(reason) from None
    with taken:
        yield


def remove_hidden(path: Path) -> None:
    """Remove a directory, `sweep.json` last: with it, what broke off can be finished; before it what says that it is held. A
    link goes, what it leads to stays.
    """
    if path.is_symlink():
        path.unlink()
        return
    for attempt in range(TRIES):
        for entry in sorted(path.iterdir()):
            if entry.name not in LAST:
                remove_tree(entry)
        for name in LAST:
            remove_tree(path / name)
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
