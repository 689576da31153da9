"""Remove sweeps with all that belongs to them: directory, checkpoints, the place in a bucket, the runs in MLflow.

    for removal in plan(["cnn", "lstm"], home): print(removal)    # what would be removed; nothing is changed
    rm(["cnn", "lstm"], home)                                     # → what was removed

Everything is checked, and every store asked, before anything is removed. Then the directory is hidden by a rename: from
there on the sweep is no more, for every verb. What a kill leaves is finished by the same command, or by `fersweep gc`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.files import disk_bytes
from fersweep.common.text import masked, shell
from fersweep.results.housekeeping import other_stores, resting, sweep_runs
from fersweep.results.housekeeping.bucket import Claim, remove_place, sweep_id_in
from fersweep.results.housekeeping.out_of_sight import held, remove_hidden, remove_tree
from fersweep.results.housekeeping.sweep_runs import SweepRuns
from fersweep.results.mlflow_store import connection
from fersweep.results.mlflow_store.connection import is_embedded
from fersweep.results.record import checkpoints
from fersweep.results.record.drivers import is_gone, kept_by
from fersweep.results.record.home import (
    REMOVED,
    background_place,
    begun,
    begun_renamings,
    check_home,
    find_sweep,
    hidden,
    hidden_path,
    home_option,
    is_hidden,
    name_of_hidden,
    sweep_directories,
)
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import FILE, SweepJson, read_sweep_json, stored_at

Tell = Callable[[str], None]
FOLLOWS_S = 300.0  # within which the second of two sweeps (`then`) begins after the first
MOST_LINKS = 3  # that are named


def silent(_: str) -> None:
    """A `tell` for whom nobody listens to."""


@dataclass(frozen=True)
class Removal:
    """A sweep that is removed, or would be.

    Attributes:
        sweep: its name.
        directory: of the sweep.
        link_to: what the directory is a link to, which stays; None: it is none.
        trials: number of trials that have files.
        disk_bytes: of the directory; checkpoint_bytes: of the trials in it.
        storage: its place in a bucket; bucket_objects, bucket_bytes: what is there.
        runs: in MLflow, its own and those of its trials; artifact_bytes: of them, on this machine.
        stores: the addresses of the stores that have them.
        stays: what rests on it and stays, a line each.
        notes: what is not removed, and why, a line each.
        removed: it was removed, and not only looked at.
    """

    sweep: str
    directory: Path
    link_to: Path | None = None
    trials: int = 0
    disk_bytes: int = 0
    checkpoint_bytes: int = 0
    storage: str | None = None
    bucket_objects: int = 0
    bucket_bytes: int = 0
    runs: int = 0
    artifact_bytes: int = 0
    stores: list[str] = field(default_factory=list[str])
    stays: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    removed: bool = False

    @property
    def num_bytes(self) -> int:
        """On this machine and in the bucket."""
        return self.disk_bytes + self.artifact_bytes + self.bucket_bytes

    def as_json(self) -> dict[str, Any]:
        link = None if self.link_to is None else str(self.link_to)
        return {**vars(self), "directory": str(self.directory), "link_to": link, "num_bytes": self.num_bytes}


@dataclass(frozen=True)
class _Found:
    """A sweep's directory, in sight or hidden, and what belongs to it elsewhere. `sweep`: None: its record is damaged;
    `note`: what is to be said of it.
    """

    directory: Path
    name: str
    sweep: SweepJson | None
    stores: list[SweepRuns]
    storage: Storage | None
    sizes: dict[str, int]
    note: str = ""

    def removal(self, home: Path, local: bool) -> Removal:
        trials = checkpoints.trials(Storage(self.directory))
        notes = [self.note] if self.note else []
        link_to = self.directory.resolve() if self.directory.is_symlink() else None
        if link_to is not None:
            notes.append(f"{self.directory} is a link: the link is removed, and {link_to} stays as it is")
        elif links := [
            path for path in _links(self.directory) if self.directory.resolve() not in path.resolve().parents
        ]:
            named = ", ".join(f"{path.relative_to(self.directory)} to {path.resolve()}" for path in links[:MOST_LINKS])
            more = " …" if len(links) > MOST_LINKS else ""
            notes.append(
                f"links in it lead elsewhere ({len(links):,}): they go, what they lead to stays: {named}{more}"
            )
        if local:
            notes.append("its runs in MLflow and its place in a bucket, if it has one, stay (--local)")
        for store in self.stores:
            if store.is_served and store.runs:
                notes.append(
                    f"{masked(store.uri)} marks runs as deleted: rows and artifacts are there until `mlflow gc` "
                    "is run on the server"
                )
        size = 0 if link_to is not None else disk_bytes(self.directory)
        return Removal(
            sweep=self.name,
            directory=self.directory,
            link_to=link_to,
            trials=len(trials),
            disk_bytes=size,
            checkpoint_bytes=0 if link_to is not None else disk_bytes(self.directory / "trials"),
            storage=None if self.storage is None else masked(self.storage.address),
            bucket_objects=len(self.sizes),
            bucket_bytes=sum(self.sizes.values()),
            runs=sum(len(store.runs) for store in self.stores),
            artifact_bytes=sum(store.num_bytes for store in self.stores),
            stores=[masked(store.uri) for store in self.stores if store.runs],
            stays=[] if self.sweep is None else resting.resting(self.sweep, home, self.stores),
            notes=notes,
        )


def _links(directory: Path) -> Iterator[Path]:
    for place, directories, files in os.walk(directory):
        yield from (path for name in sorted([*directories, *files]) if (path := Path(place) / name).is_symlink())


def plan(names: Sequence[str], home: Path, local: bool = False) -> list[Removal]:
    """What `rm` would remove; nothing is changed. Raises as `rm` does, but where nothing can be written."""
    return [found.removal(home, local) for name in dict.fromkeys(names) for found in _find(name, home, local)]


def rm(
    names: Sequence[str], home: Path, dry_run: bool = False, local: bool = False, tell: Tell = silent
) -> list[Removal]:
    """Remove sweeps with all that belongs to them → what was removed.

    Args:
        names: of sweeps under `home`. Of one whose removal broke off, too: that is finished, and a sweep that has got the name
            since stays.
        dry_run: only say what would be removed.
        local: leave MLflow and the bucket as they are: the directory alone is removed.
        tell: gets a line when a sweep is removed.

    Raises InputError where a sweep is not there, runs, or its directory is what a registered version is loaded from;
    RuntimeError where MLflow or the bucket cannot be reached: nothing of any of them is removed then, or the error says what is.
    """
    if dry_run:
        return plan(names, home, local)
    check_home(home)
    all_found = [found for name in dict.fromkeys(names) for found in _find(name, home, local)]
    planned, removals = [found.removal(home, local) for found in all_found], list[Removal]()
    with ExitStack() as stack:
        for found in all_found:
            away = local and found.sweep is not None and found.sweep.asked.storage  # a bucket that may not answer
            stack.enter_context(held(found.directory, None if away else found.sweep, REMOVED))
        for found, removal in zip(all_found, planned, strict=True):
            _remove(found, home)
            removals.append(replace(removal, removed=True))
            tell(
                f"{found.name} is removed"
                if not is_hidden(found.directory)
                else f"what was left of {found.name} is removed"
            )
    return removals


def finish(path: Path, home: Path, local: bool = False) -> Removal:
    """Finish a removal that broke off: `path` is a hidden directory. Raises as `rm` does."""
    if path.is_symlink():  # nothing is touched where it leads to, not even a lock is made there
        removal = _Found(path, name_of_hidden(path), None, [], None, {}, "").removal(home, local)
        path.unlink()
        return replace(removal, removed=True)
    found = _look(path, name_of_hidden(path), home, local)
    removal = found.removal(home, local)
    with held(path, None, REMOVED):
        _remove(found, home)
    return replace(removal, removed=True)


def _find(name: str, home: Path, local: bool) -> Iterator[_Found]:
    """What is left of sweeps of this name whose removal broke off; if nothing is, the sweep. InputError where there is neither."""
    if "://" in name:
        raise InputError(
            f"{masked(name)}: want a sweep's name; `fersweep status {masked(name)}` brings one from its bucket"
        )
    if left := hidden(home, REMOVED, name):
        for path in left:
            if kept_by(path):
                raise InputError(begun(home, name)[0])
            found = _look(path, name, home, local)
            since = directory_of_same_name(path).exists()
            stays = (
                f"; the sweep {name} that is there now stays: the same command once more removes it" if since else ""
            )
            yield replace(found, note=f"its removal broke off, and is finished{stays}")
        return
    directory = find_sweep(home, name)
    if renamings := begun_renamings(home, name):
        raise InputError(renamings[0])
    refuse_running(directory)
    found = _look(directory, name, home, local)
    resting.refuse_loaded_from(directory, found.stores)
    yield found


def directory_of_same_name(path: Path) -> Path:
    """Where a sweep is in sight that has the name of the hidden one at `path`."""
    return path.with_name(name_of_hidden(path))


def refuse_running(directory: Path) -> None:
    """InputError where somebody is at work on the sweep, or begins the one that follows it; also for `--dry-run`, which takes
    no lock.
    """
    from fersweep.results.dashboards.status import status

    name, home = directory.name, directory.parents[1]
    (found,) = status(home, name)
    if kept := kept_by(directory):
        raise InputError(f"{name} is {kept}: wait for its end")
    if found.state == "running":
        raise InputError(f"{name} runs: `fersweep stop {name}` first")
    if found.state != "finished" or found.driver is None or (found.age_s or 0.0) > FOLLOWS_S:
        return
    following, pid = read_sweep_json(directory).asked.following, found.driver.pid
    if following is None or (home / "sweeps" / following.name).exists() or is_gone(found.driver.host, str(pid)):
        return
    raise InputError(
        f"{name} has just ended, and process {pid} begins {following.name}, which follows it (`then`): wait until it has begun, "
        "or stop that process"
    )


def _look(directory: Path, name: str, home: Path, local: bool) -> _Found:
    """Ask everybody who has something of a sweep. Raises RuntimeError where somebody cannot be reached."""
    try:
        sweep = read_sweep_json(directory)
    except InputError as error:
        damage = (
            f"{error}: what it has in MLflow and in a bucket is not known, and stays; `fersweep gc --runs` finds the runs of "
            "sweeps that are gone"
        )
        return _Found(directory, name, None, [], None, {}, "" if is_hidden(directory) else damage)
    original = _same_sweep(directory, sweep, home) if sweep.name != name else None
    if original is not None:
        copy = f"{directory} is a copy of sweep {original}, whose runs in MLflow and whose place in a bucket stay"
        return _Found(directory, name, sweep, [], None, {}, copy)
    storage = Storage(stored_at(sweep.asked.storage, sweep.name)) if sweep.asked.storage else None
    if storage is not None:
        storage = Storage(storage.address, retry_s=1)
    if local:
        return _Found(directory, name, sweep, [], None, {})
    try:
        sizes = {} if storage is None else storage.sizes()
        if storage is not None and not _is_own(storage, sizes, sweep):
            storage, sizes = None, {}
    except (OSError, ValueError) as error:
        where = "" if storage is None else storage.address
        raise RuntimeError(_away(name, f"{where}: {(str(error).splitlines() or [''])[0]}", "the bucket")) from None
    try:
        stores = [sweep_runs.find(client, sweep.sweep_id) for client in sweep_runs.stores(sweep, directory, home)]
    except InputError:
        raise
    except Exception as error:  # stores raise what their drivers raise
        reason = connection.one_line(error, connection.sweep_store(sweep)[0])
        raise RuntimeError(_away(name, reason, "MLflow")) from error
    return _Found(directory, name, sweep, stores, storage, sizes)


def _same_sweep(directory: Path, sweep: SweepJson, home: Path) -> str | None:
    """The name of another directory of the home that holds the same sweep, as after `cp -r`; None where there is none."""
    for other in sweep_directories(home):
        with contextlib.suppress(InputError):
            if other != directory and read_sweep_json(other).sweep_id == sweep.sweep_id:
                return other.name
    return None


def _away(name: str, reason: str, what: str) -> str:
    return f"{masked(reason)}: nothing of {name} is removed; --local removes its directory alone, and leaves {what} as it is"


def _is_own(storage: Storage, sizes: dict[str, int], sweep: SweepJson) -> bool:
    """Is what is in the bucket this sweep's, or what a removal that broke off has left, and not another home's sweep?"""
    return FILE not in sizes or sweep_id_in(storage) == sweep.sweep_id


def _remove(found: _Found, home: Path) -> None:
    """The caller holds the sweep. Raises RuntimeError, which says what is left and what finishes it."""
    directory, done = found.directory, list[None]()
    if not is_hidden(directory):
        directory = _hide(directory, uuid.uuid4().hex if found.sweep is None else found.sweep.sweep_id)
    try:
        _remove_hidden(found, directory, home, lambda: done.append(None))
    except Exception as error:  # stores raise what their drivers raise
        runs = sum(len(store.runs) for store in found.stores)
        removed = f"{len(done):,} of its {runs:,} runs in MLflow are removed" if runs else "it is partly removed"
        finish = f"`{shell('fersweep', 'rm', found.name)}{home_option(home)}` removes the rest"
        raise RuntimeError(
            f"{masked(connection.one_line(error, ''))}: {found.name} is no more a sweep, {removed}; {finish}"
        ) from error


def _remove_hidden(found: _Found, directory: Path, home: Path, beat: Callable[[], None]) -> None:
    """`beat`: after each run in MLflow."""
    sweep, now = found.sweep, directory_of_same_name(directory)
    if sweep is not None:
        gone = f"{found.name} (removed {sweep.sweep_id[:8]})"
        for store in found.stores:
            if store.kept:
                other_stores.remember(home, store.uri)
            _rename_what_stays(store, found.name, gone, None if now.exists() else home)
            sweep_runs.remove(store, beat)
    if found.storage is not None:
        remove_place(found.storage, Claim(found.storage))
    remove_hidden(directory)
    if not now.exists():
        remove_tree(background_place(now))


def _hide(directory: Path, sweep_id: str) -> Path:
    path = hidden_path(directory, sweep_id, REMOVED)
    while os.path.lexists(path):  # of a copy of the same sweep
        path = hidden_path(directory, uuid.uuid4().hex, REMOVED)
    try:
        directory.rename(path)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(f"{directory} cannot be removed: {error.strerror}") from None
        raise
    return path


def _rename_what_stays(store: SweepRuns, name: str, gone: str, home: Path | None) -> None:
    """Let versions, their runs and the ledger name a sweep that is no more, not one that is launched under its name later.
    `home`: None: there is one already, whose lines in the ledger cannot be told from the other's, and none is renamed.
    """
    rest = replace(store, runs=[])
    sweep_runs.rename(rest, gone, lambda _: {"fersweep.sweep_removed": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
    if home is not None and is_embedded(store.client, home):
        sweep_runs.rename_ledger(store.client, name, gone)
