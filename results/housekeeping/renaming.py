"""Give a sweep another name: its directory, its place in a bucket, its runs and versions in MLflow.

    mv("cnn", "cnn-192", home)

The sweep keeps its id, so a resume goes on in the same runs. The name changes at one rename; before it the sweep has its
old name in full, after it the new one. What a kill leaves is finished by the same command, or by `fersweep gc`: `move.json`
in the sweep's directory says what was asked for.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.common.errors import InputError
from fersweep.common.files import write_whole
from fersweep.common.text import masked, shell
from fersweep.results.housekeeping import sweep_runs
from fersweep.results.housekeeping.bucket import Claim, copy_place, remove_place, sweep_id_in
from fersweep.results.housekeeping.out_of_sight import held
from fersweep.results.housekeeping.removal import Tell, refuse_running, silent
from fersweep.results.mlflow_store import connection, run_fields
from fersweep.results.mlflow_store.connection import is_embedded
from fersweep.results.models.names import check_sweep_name
from fersweep.results.record import journal
from fersweep.results.record.drivers import KEEPER
from fersweep.results.record.home import (
    MOVE,
    MOVED,
    background_place,
    begun,
    begun_moves,
    begun_renamings,
    check_home,
    check_own,
    find_sweep,
    hidden_path,
    home_option,
    read_move,
    sweep_directories,
)
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import FILE, SweepJson, read_sweep_json, stored_at

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class Renaming:
    """A sweep that gets another name, or would.

    Attributes:
        sweep: its name so far; name: the new one.
        directory: of the sweep, under its new name.
        storage: its new place in a bucket; bucket_objects, bucket_bytes: what is copied there.
        runs: in MLflow that get the new name; versions: registered versions that do.
        notes: what still has the old name, a line each.
        renamed: it was, and not only looked at.
    """

    sweep: str
    name: str
    directory: Path
    storage: str | None = None
    bucket_objects: int = 0
    bucket_bytes: int = 0
    runs: int = 0
    versions: list[int] = field(default_factory=list[int])
    notes: list[str] = field(default_factory=list[str])
    renamed: bool = False

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "directory": str(self.directory)}


def mv(old: str, new: str, home: Path, dry_run: bool = False, tell: Tell = silent) -> Renaming:
    """Give the sweep `old` the name `new`; one that broke off is finished.

    Raises InputError where there is no such sweep, it runs, `new` is taken or no name; RuntimeError where MLflow or the
    bucket cannot be reached. Nothing is renamed then.
    """
    if begun := _begun(old, new, home):
        return _describe(begun, old, new, home) if dry_run else finish_move(begun, home, tell)
    directory = _checked(old, new, home)
    if dry_run:
        return _describe(directory, old, new, home)
    check_home(home)
    with held(directory, read_sweep_json(directory), "renamed"):
        said = _describe(directory, old, new, home)
        write_whole(directory / MOVE, json.dumps({"from": old, "to": new}).encode())
        _move(directory, old, new, home)
    return _recorded(replace(said, renamed=True), tell)


def finish_move(directory: Path, home: Path, tell: Tell = silent) -> Renaming:
    """Finish what broke off: `directory` is the sweep's, in sight under either name, or hidden."""
    asked = read_move(directory)
    if asked is None:
        raise InputError(f"{directory / MOVE} cannot be read: remove it, if {directory.name} is the name that you want")
    old, new = asked
    check_home(home)
    with held(directory, None, "renamed"):
        said = _describe(directory, old, new, home)
        _move(directory, old, new, home)
    return _recorded(replace(said, renamed=True), tell)


def _begun(old: str, new: str, home: Path) -> Path | None:
    return next((path for path in begun_moves(home) if read_move(path) == (old, new)), None)


def _checked(old: str, new: str, home: Path) -> Path:
    """The directory of the sweep `old`, if it may have the name `new`."""
    for name in (old, new):
        if "://" in name:
            raise InputError(f"{masked(name)}: want the names of sweeps in {home}, not an address")
    directory = find_sweep(home, old)
    if directory.is_symlink():
        raise InputError(
            f"{directory} is a link to {directory.resolve()}: a link gets no other name, as the sweep would not know its own "
            "directory; put the directory into the home first"
        )
    sweep = read_sweep_json(directory)
    check_own(directory, sweep.name)
    if old == new:
        raise InputError(f"{old} has this name already")
    renamed = sweep.renamed(new)
    check_sweep_name(new, home)
    if os.path.lexists(directory.with_name(new)):
        raise InputError(f"{directory.with_name(new)} is there already: want another name")
    if first := [*begun_renamings(home, old), *begun(home, new)]:
        raise InputError(first[0])
    refuse_running(directory)
    following = sweep.asked.following
    if following is not None and directory.with_name(following.name).exists():
        after = renamed.asked.following
        if after is not None and not directory.with_name(after.name).exists():
            raise InputError(
                f"{old} is followed by {following.name} (`then`), which would be launched once more as {after.name}: "
                f"`fersweep mv {following.name} {after.name}` first"
            )
    return directory


def _places(sweep: SweepJson, old: str, new: str) -> tuple[Storage, Storage] | None:
    bucket = sweep.asked.storage
    return None if bucket is None else (Storage(stored_at(bucket, old), 5), Storage(stored_at(bucket, new), 5))


def _describe(directory: Path, old: str, new: str, home: Path) -> Renaming:
    """What is renamed. Raises as `mv` does, where a store or the new place in the bucket is not as it must be."""
    sweep = read_sweep_json(directory)
    places, objects, size, address = _places(sweep, old, new), 0, 0, None
    if places is not None:
        before, after = places
        address = masked(after.address)
        try:
            sizes, there = before.sizes(), after.sizes()
            if there and sweep_id_in(after) != sweep.sweep_id and not (directory / MOVE).is_file():
                raise InputError(f"{after.address}: something is there already: want another name")
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = (str(error).splitlines() or [""])[0]
            raise RuntimeError(f"{address}: {masked(reason)}: nothing is renamed") from None
        objects, size = len(sizes), sum(sizes.values())
    runs, versions = 0, list[int]()
    for found in _found(sweep, directory, home):
        runs += len(found.runs) + len(found.kept)
        versions += [int(version.version) for version in found.versions]
    return Renaming(
        sweep=old,
        name=new,
        directory=Path(home) / "sweeps" / new,
        storage=address,
        bucket_objects=objects,
        bucket_bytes=size,
        runs=runs,
        versions=sorted(versions),
        notes=list(_notes(directory, old, new, home)),
    )


def _found(sweep: SweepJson, directory: Path, home: Path) -> list[sweep_runs.SweepRuns]:
    try:
        return [sweep_runs.find(client, sweep.sweep_id) for client in sweep_runs.stores(sweep, directory, home)]
    except InputError:
        raise
    except Exception as error:  # stores raise what their drivers raise
        reason = connection.one_line(error, connection.sweep_store(sweep)[0])
        raise RuntimeError(f"MLflow: {reason}: nothing is renamed") from error


def _notes(directory: Path, old: str, new: str, home: Path) -> Iterator[str]:
    """What still has the old name: records of what was, which are not changed."""
    for other in sweep_directories(home):
        with contextlib.suppress(InputError):
            sweep = read_sweep_json(other)
            names = {trial.sweep for trial in sweep.history} | {p.name.rpartition("/")[0] for p in sweep.points}
            if sweep.teacher is not None and sweep.teacher.sweep is not None:
                names.add(sweep.teacher.sweep)
            if other != directory and old in names:
                yield f"the record of sweep {sweep.name} says that it learned from {old}"
            if other != directory and sweep.asked.following is not None and sweep.asked.following.name == old:
                yield f"sweep {sweep.name} is followed by {old} (`then`): to resume {sweep.name} launches that one again"
    if (directory / "report.html").exists():
        yield f"report.html says {old}, until `fersweep report {new}` writes it anew"


def _move(directory: Path, old: str, new: str, home: Path) -> None:
    """From wherever an earlier one broke off. The caller holds the sweep. Raises RuntimeError, which says what finishes it."""
    try:
        _moved(directory, old, new, home)
    except InputError:
        raise
    except Exception as error:  # stores raise what their drivers raise
        reason = masked(connection.one_line(error, ""))
        again = f"{shell('fersweep', 'mv', old, new)}{home_option(home)}"
        raise RuntimeError(f"{reason}: renaming {old} to {new} broke off: `{again}` finishes it") from error


def _moved(directory: Path, old: str, new: str, home: Path) -> None:
    sweep = read_sweep_json(directory)
    target = directory.with_name(new)
    places, renamed = _places(sweep, old, new), sweep.renamed(new)
    if directory != target:
        if places is not None:
            copy_place(*places, renamed.as_bytes(), Claim(places[0]))
        aside = hidden_path(target, sweep.sweep_id, MOVED)
        if directory != aside:
            directory.rename(aside)
        write_whole(aside / FILE, renamed.as_bytes())
        try:
            aside.rename(target)
        except OSError:  # somebody has just made it
            if not target.exists():
                raise
            write_whole(aside / FILE, sweep.renamed(old).as_bytes())
            (aside / MOVE).unlink()
            aside.rename(directory.with_name(old))
            raise InputError(f"{target} has just been made by somebody else: want another name") from None
    if places is not None and sweep_id_in(places[0]) in (None, sweep.sweep_id):  # not of one that has taken the place
        remove_place(places[0], Claim(places[0]))
    record = journal.read(target / "journal.jsonl")
    for found in _found(renamed, target, home):
        sweep_runs.rename(found, new, _names(renamed, record))
        if is_embedded(found.client, home):
            sweep_runs.rename_ledger(found.client, old, new)
    with contextlib.suppress(OSError):  # there may be none, and nothing needs it
        background_place(target.with_name(old)).rename(background_place(target))
    (target / MOVE).unlink(missing_ok=True)
    (target / KEEPER).unlink(missing_ok=True)


def _names(sweep: SweepJson, record: journal.SweepRecord) -> Callable[[Run], dict[str, str]]:
    """What a run of the sweep is called, as tags."""

    def tags(run: Run) -> dict[str, str]:
        kind, number = run.data.tags.get("fersweep.kind"), run.data.tags.get("fersweep.trial", "")
        if kind == "sweep":
            return {"mlflow.runName": sweep.name}
        if kind == "trial" and number.isdecimal() and int(number) in record.trials:
            return {"mlflow.runName": run_fields.run_name(sweep, record.trials[int(number)])}
        return {}

    return tags


def _recorded(said: Renaming, tell: Tell) -> Renaming:
    """Let MLflow's description and view of the sweep have its new name, too: the recorder writes them."""
    from fersweep.results.tracking import recorder_process

    if said.runs:
        try:
            recorder_process.record(said.directory)
        except (recorder_process.NotRecorded, OSError) as error:
            tell(f"note: {error}")
    return said
