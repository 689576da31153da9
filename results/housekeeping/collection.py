"""Remove what nothing needs: `fersweep gc`.

    gc(home, dry_run=True).leftovers       # what there is, with sizes
    gc(home)                               # remove it

Nothing that is in use: what has a lock is removed under it, and what has none when nobody wrote there for an hour or a day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fersweep.common.errors import InputError
from fersweep.common.text import masked, printable
from fersweep.results.housekeeping.leftovers import home as of_home
from fersweep.results.housekeeping.leftovers import machine as of_machine
from fersweep.results.housekeeping.leftovers import store as of_store
from fersweep.results.housekeeping.leftovers.leftover import InUse, Leftover
from fersweep.results.housekeeping.removal import Tell, silent
from fersweep.results.mlflow_store.connection import one_line
from fersweep.results.record.home import check_home, holds_anything, is_home, why_none

Find = Callable[[Path], Iterable[Leftover]]


class Kind(NamedTuple):
    """A kind of leftovers.

    Attributes:
        what: they are, in words.
        find: finds them.
        option: of `gc` that they are removed with; "": always.
        verb: what becomes of them.
    """

    what: str
    find: Find
    option: str = ""
    verb: str = "removed"


def _anywhere(find: Callable[[], Iterable[Leftover]]) -> Find:
    return lambda _: find()


KINDS = {
    "removals": Kind("sweeps whose removal broke off", of_home.removals),
    "renames": Kind("sweeps whose renaming broke off", of_home.renames, verb="finished"),
    "launches": Kind("launches that were killed before their sweep began", of_home.launches),
    "background logs": Kind("logs of launches in the background that made no sweep", of_home.background_logs),
    "checkpoints": Kind("unfinished checkpoints of sweeps that nobody runs", of_home.unfinished_checkpoints),
    "temporary files": Kind("files that were being written by a process that was killed", of_home.temporary_files),
    "promotions": Kind("temporary files of promotions that were killed", of_home.promotions),
    "begun promotions": Kind("promotions that broke off and show as running", of_store.begun_promotions, verb="ended"),
    "deleted runs": Kind("runs that were deleted in MLflow, of sweeps that are gone", of_store.deleted_runs),
    "runs without a sweep": Kind("runs of sweeps that are not in this home", of_store.runs_of_gone_sweeps, "--runs"),
    "artifacts": Kind("MLflow's artifacts without a run", of_store.artifacts),
    "ray sessions": Kind("logs of your Ray sessions that have ended, whatever program they were of", _anywhere(of_machine.ray_sessions), "--caches"),
    "temporary directories": Kind("temporary directories of processes that were killed", _anywhere(of_machine.scratch)),
    "staged data": Kind("staged data that is not whole", _anywhere(of_machine.half_staged)),
    "caches": Kind("caches: staged data, and what MediaPipe saw; making them anew takes time", _anywhere(of_machine.caches), "--caches"),
}  # fmt: skip
"""In the order in which they are removed: what is finished first leaves what is found after it."""


@dataclass(frozen=True)
class Item:
    """A leftover, and what became of it. `removed`: it is gone, or finished; `why`: why it is not."""

    kind: str
    what: str
    num_bytes: int
    removed: bool
    why: str = ""


@dataclass(frozen=True)
class Collected:
    """What there was, and what became of it.

    Attributes:
        leftovers: all of them.
        dry_run: nothing was changed.
        failed: something could not be removed, though nobody uses it.
    """

    leftovers: list[Item]
    dry_run: bool
    failed: bool = False

    @property
    def num_bytes(self) -> int:
        """That are free now, or would be."""
        return sum(item.num_bytes for item in self.leftovers if item.removed or (self.dry_run and not item.why))

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "num_bytes": self.num_bytes}


def gc(home: Path, dry_run: bool = False, caches: bool = False, runs: bool = False, tell: Tell = silent) -> Collected:
    """Remove what nothing needs under `home`, and what fersweep left on this machine.

    Args:
        dry_run: only look.
        caches: also what is kept to save time.
        runs: also MLflow's runs of sweeps that are not in this home.
        tell: gets a line on what cannot be looked at.

    Raises InputError where nothing can be written under `home`, or it holds something else than a home does.
    """
    home = Path(home)
    if not is_home(home):
        if holds_anything(home):
            raise InputError(f"--home {home}: {why_none(home)}")
        tell(f"no sweeps in {home}: {why_none(home)}; what is left on this machine is looked for")
    elif not dry_run:
        check_home(home)
    asked, items, failed = {"": True, "--caches": caches, "--runs": runs}, list[Item](), False
    for name, kind in KINDS.items():
        try:
            for leftover in list(kind.find(home)):
                why = "" if asked[kind.option] else f"{kind.option} removes it"
                if not why and not dry_run:
                    why, is_failure = _remove(leftover)
                    failed |= is_failure
                removed = not why and not dry_run
                items.append(Item(name, printable(leftover.what), leftover.num_bytes, removed, why))
        except Exception as error:  # whatever is wrong with one kind, the others are removed
            tell(f"{kind.what}: cannot be looked for: {_line(error)}")
            failed = True
    return Collected(items, dry_run, failed)


def _remove(leftover: Leftover) -> tuple[str, bool]:
    """(why it is not removed, whether that is a failure); ("", False) where it is."""
    try:
        leftover.remove()
    except InUse as why:
        return str(why), False
    except Exception as error:  # stores raise what their drivers raise
        return _line(error), True
    return "", False


def _line(error: Exception) -> str:
    return masked(str(error)) if isinstance(error, InputError | RuntimeError) else one_line(error, "")
