"""What is left over in a home's own MLflow store: artifacts without a run, runs without a sweep, promotions that broke off.

SQLite is asked first: MLflow takes seconds to be imported, and mostly there is nothing. The ledger of test is never
touched: it has no sweep, and its deleted lines count, too.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from fersweep.common.errors import InputError
from fersweep.common.files import is_held, lock
from fersweep.common.text import masked
from fersweep.results.champion.champion import LOCK as PROMOTE_LOCK
from fersweep.results.housekeeping import other_stores, sweep_runs
from fersweep.results.housekeeping.leftovers.leftover import HOUR_S, InUse, Leftover, path_leftover, quiet_for
from fersweep.results.housekeeping.out_of_sight import remove_tree
from fersweep.results.mlflow_store import connection
from fersweep.results.mlflow_store.addresses import sqlite_file
from fersweep.results.mlflow_store.other_homes import copy_of_store, is_read_only
from fersweep.results.mlflow_store.runs import all_runs
from fersweep.results.promote.begun import end_begun
from fersweep.results.record.home import MOVED, REMOVED, hidden, sweep_directories
from fersweep.results.record.sweep_json import read_sweep_json

RUN, MODEL = re.compile(r"[0-9a-f]{32}"), re.compile(r"m-[0-9a-f]{32}")  # names of their directories of artifacts
OF_GONE = """
    SELECT runs.run_uuid, runs.lifecycle_stage, tags.value FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid
    WHERE tags.key = 'fersweep.sweep_id'"""
BEGUN = """
    SELECT DISTINCT runs.experiment_id, runs.run_uuid FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid
    WHERE tags.key = 'fersweep.kind' AND tags.value = 'promotion' AND runs.status = 'RUNNING'
    AND runs.lifecycle_stage = 'active'"""


def artifacts(home: Path) -> Iterator[Leftover]:
    """Directories of artifacts that no run and no model has. None where a store that has artifacts here cannot be asked."""
    places = [path for path in sorted((home / "artifacts").glob("*")) if RUN.fullmatch(path.name)]
    places += [path for path in sorted((home / "artifacts" / "models").glob("*")) if MODEL.fullmatch(path.name)]
    if not places:
        return
    if (known := _known(home)) is None:
        return
    for path in places:
        if path.name not in known and not path.is_symlink() and path.is_dir() and quiet_for(path, HOUR_S):
            yield path_leftover("artifacts", path, lambda path=path: _remove_artifacts(path, home))


def _remove_artifacts(path: Path, home: Path) -> None:
    if path.name in {
        row[0] for row in _rows(home, "SELECT run_uuid FROM runs UNION SELECT model_id FROM logged_models")
    }:
        raise InUse("a run has it now")
    remove_tree(path)


def _known(home: Path) -> set[str] | None:
    """Ids of all runs and models that may have artifacts below the home; None where not all stores can be asked."""
    addresses, lost = other_stores.known(home)
    ids: set[str] = set()
    try:
        for query in ("SELECT run_uuid FROM runs", "SELECT model_id FROM logged_models"):
            ids |= {str(row[0]) for row in _rows(home, query)} if (home / "mlflow.db").is_file() else set()
        for address in addresses:
            file = sqlite_file(address)
            if file is None or file.is_file():
                ids |= _ids_of(address)
    except Exception as error:  # stores raise what their drivers raise
        _left(f"a store cannot be asked ({connection.one_line(error, '')})")
        return None
    if lost:
        _left(f"{masked(lost[0])} cannot be asked: give its whole address in FERSWEEP_TRACKING_URI")
        return None
    return ids


def _left(why: str) -> None:
    print(f"artifacts that may be no run's stay: {why}", file=sys.stderr)


def _ids_of(address: str) -> set[str]:
    client, ids = connection.connect(address), set[str]()
    for experiment in sweep_runs.all_experiments(client):
        ids |= {str(run.info.run_id) for run in all_runs(client, experiment, "")}
        token = None
        while True:
            page = client.search_logged_models([experiment], page_token=token)
            ids |= {str(model.model_id) for model in page}
            token = page.token
            if not token:
                break
    return ids


def deleted_runs(home: Path) -> Iterator[Leftover]:
    """Runs that were deleted in MLflow, of sweeps that are gone: nothing restores them."""
    yield from _runs_of_gone(home, "deleted runs", deleted=True)


def runs_of_gone_sweeps(home: Path) -> Iterator[Leftover]:
    """Runs of sweeps that are not in this home: removed by hand, or never in it."""
    yield from _runs_of_gone(home, "runs without a sweep", deleted=False)


def _runs_of_gone(home: Path, kind: str, deleted: bool) -> Iterator[Leftover]:
    if not (home / "mlflow.db").is_file():
        return
    present = _sweep_ids(home)
    rows = [(str(row[0]), str(row[1]), str(row[2])) for row in _rows(home, OF_GONE)]
    gone = dict.fromkeys(sweep_id for _, stage, sweep_id in rows if (stage == "deleted") == deleted)
    candidates = [sweep_id for sweep_id in gone if present is not None and sweep_id not in present]
    if not candidates:
        return
    client = connection.open_home(home)
    for sweep_id in candidates:
        found = sweep_runs.find(client, sweep_id)
        runs = [run for run in found.runs if (run.info.lifecycle_stage == "deleted") == deleted]
        if not runs:
            continue
        models, places = sweep_runs.logged_models(client, runs), {} if deleted else found.experiments
        few = sweep_runs.SweepRuns(client, sweep_id, runs, found.kept, models, experiments=places)
        name = next(iter(run.data.tags.get("fersweep.sweep", "?") for run in runs))
        what = f"{len(runs)} runs of {name} ({sweep_id[:8]})"
        yield Leftover(kind, what, few.num_bytes, lambda few=few: _remove_runs(few, home))


def _remove_runs(few: sweep_runs.SweepRuns, home: Path) -> None:
    present = _sweep_ids(home)
    if present is None or few.sweep_id in present:
        raise InUse("its sweep is here now")
    sweep_runs.remove(few)


def _sweep_ids(home: Path) -> set[str] | None:
    """Ids of the sweeps in a home, also of those between two names; None where one cannot be read."""
    try:
        paths = [*sweep_directories(home), *hidden(home, MOVED), *hidden(home, REMOVED)]
        return {read_sweep_json(path).sweep_id for path in paths}
    except InputError as error:
        print(f"runs that may be no sweep's stay: {error}", file=sys.stderr)
        return None


def begun_promotions(home: Path) -> Iterator[Leftover]:
    """Runs of promotions that broke off, which show as running: they are ended, and nothing is removed."""
    if not (home / "mlflow.db").is_file() or is_held(home / PROMOTE_LOCK):
        return
    experiments: dict[str, int] = {}
    for experiment, _ in _rows(home, BEGUN):
        experiments[str(experiment)] = experiments.get(str(experiment), 0) + 1
    for experiment, number in experiments.items():
        what = f"{number} in experiment {experiment} of MLflow"
        yield Leftover("begun promotions", what, 0, _ends(home, experiment))


def _ends(home: Path, experiment: str) -> Callable[[], None]:
    def end() -> None:
        try:
            held = lock(home / PROMOTE_LOCK, 0)
        except TimeoutError:
            raise InUse("a promotion is at work") from None
        with held:
            end_begun(connection.open_home(home), experiment)

    return end


def _rows(home: Path, query: str) -> list[tuple[object, ...]]:
    """Of the embedded store, which is only read. Raises OSError."""
    here = Path(home).resolve()
    path = copy_of_store(here) if is_read_only(here) else here / "mlflow.db"  # SQLite writes where it reads
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=20)) as database:
        try:
            return list(database.execute(query))
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from None
