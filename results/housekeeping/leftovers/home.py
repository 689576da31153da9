"""What is left over in a home: launches, removals and renames that broke off, unfinished checkpoints and files."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.files import disk_bytes, is_held, lock
from fersweep.common.untrusted import is_object, parse_json, read_regular
from fersweep.results.champion.champion import LOCK as PROMOTE_LOCK
from fersweep.results.housekeeping import removal, renaming
from fersweep.results.housekeeping.bucket import Claim, remove_place, sweep_id_in
from fersweep.results.housekeeping.leftovers.leftover import DAY_S, InUse, Leftover, path_leftover, quiet_for
from fersweep.results.housekeeping.out_of_sight import remove_tree
from fersweep.results.promote.begun import SCRATCH
from fersweep.results.record import checkpoints
from fersweep.results.record.drivers import LOCK, alone
from fersweep.results.record.home import REMOVED, UNFINISHED, begun_moves, hidden, read_move, sweep_directories
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import MOST_BYTES, read_sweep_json, stored_at

TEMPORARY = re.compile(r"\..*\.[0-9a-f]{12}\.tmp(\..*)?|\.clock-\w+")  # of files.replacing, and Storage.age_s
DIRECTORY = re.compile(r"\..+-[0-9a-f]{8}(\.old)?")  # of files.new_directory, and Storage.new
STORE, STORE_LOCK = ".mlflow.db.new", "mlflow.lock"


def removals(home: Path) -> Iterator[Leftover]:
    """Sweeps whose removal broke off."""
    for path in hidden(home, REMOVED):
        if path.is_symlink() or not is_held(path / LOCK):
            yield path_leftover("removals", path, lambda path=path: _finish_removal(path, home))


def _finish_removal(path: Path, home: Path) -> None:
    removal.finish(path, home)


def renames(home: Path) -> Iterator[Leftover]:
    """Sweeps whose renaming broke off: it is finished, and nothing is removed."""
    for path in begun_moves(home):
        if is_held(path / LOCK):
            continue
        asked = read_move(path)
        what = str(path) if asked is None else f"{asked[0]} to {asked[1]}"
        yield Leftover("renames", what, 0, lambda path=path: _finish_move(path, home))


def _finish_move(path: Path, home: Path) -> None:
    renaming.finish_move(path, home)


def background_logs(home: Path) -> Iterator[Leftover]:
    """What `fersweep.launch(…, wait=False)` wrote of sweeps that are not there, a day ago or before."""
    for path in sorted((home / "sweeps").glob(".*.launch")):
        sweep = path.with_name(path.name.removeprefix(".").removesuffix(".launch"))
        if not sweep.exists() and quiet_for(path, DAY_S):
            yield path_leftover("background logs", path)


def launches(home: Path) -> Iterator[Leftover]:
    """Directories of launches that were killed before their sweep began."""
    for path in sorted((home / "sweeps").glob(".*")):
        if not UNFINISHED.fullmatch(path.name) or path.is_symlink() or not path.is_dir() or is_held(path / LOCK):
            continue
        has_begun = any((path / "trials").glob("*")) or disk_bytes(path / "journal.jsonl")
        if not has_begun and quiet_for(path, 60):
            yield path_leftover("launches", path, lambda path=path: _remove_launch(path))


def _remove_launch(path: Path) -> None:
    with _locked(path / LOCK):
        sweep = _object(path / "sweep.json").get("sweep")
        if is_object(sweep) and isinstance(sweep.get("storage"), str) and isinstance(sweep.get("name"), str):
            storage = Storage(stored_at(sweep["storage"], sweep["name"]), retry_s=5)
            is_own = sweep_id_in(storage) == _object(path / "sweep.json").get("sweep_id")
            if is_own and "journal" not in storage.names(""):  # that sweep has not begun either
                remove_place(storage, Claim(storage))
        remove_tree(path)


def _object(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = parse_json(read_regular(path, MOST_BYTES))
        return content if is_object(content) else {}
    return {}


def unfinished_checkpoints(home: Path) -> Iterator[Leftover]:
    """Checkpoints that processes which were killed did not finish, of sweeps that nobody runs."""
    for directory in sweep_directories(home):
        if is_held(directory / LOCK):
            continue
        for path in sorted(directory.glob("trials/*/.epoch-*")):
            if re.fullmatch(checkpoints.UNFINISHED, path.name):
                yield path_leftover("checkpoints", path, lambda path=path: _remove_checkpoint(path))


def _remove_checkpoint(path: Path) -> None:
    directory = path.parents[2]
    try:
        with alone(directory, read_sweep_json(directory).storage(directory)):
            remove_tree(path)
    except InputError as error:
        raise InUse(str(error)) from None


def temporary_files(home: Path) -> Iterator[Leftover]:
    """Files and directories that were being written, by temp-and-rename, by a process that was killed; a day old."""
    for place, directories, files in os.walk(home):
        here = Path(place)
        for name in sorted(files):
            if TEMPORARY.fullmatch(name) and quiet_for(here / name, DAY_S):
                yield path_leftover("temporary files", here / name)
        for name in sorted(directories):
            path = here / name
            is_other = path.parent == home / "sweeps" or re.fullmatch(checkpoints.UNFINISHED, name)
            if not is_other and DIRECTORY.fullmatch(name) and not path.is_symlink() and quiet_for(path, DAY_S):
                directories.remove(name)
                yield path_leftover("temporary files", path)
    if (home / STORE).exists() and not is_held(home / STORE_LOCK):
        for path in sorted(home.glob(f"{STORE}*")):
            yield path_leftover("temporary files", path, lambda path=path: _remove_locked(path, home / STORE_LOCK))


def promotions(home: Path) -> Iterator[Leftover]:
    """Temporary files of promotions that were killed."""
    if (home / SCRATCH).is_dir() and not is_held(home / PROMOTE_LOCK):
        path = home / SCRATCH
        yield path_leftover("promotions", path, lambda: _remove_locked(path, home / PROMOTE_LOCK))


def _remove_locked(path: Path, lock_file: Path) -> None:
    with _locked(lock_file):
        remove_tree(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        held = lock(path, 0)
    except TimeoutError:
        raise InUse("it is in use now") from None
    with held:
        yield
