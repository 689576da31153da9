"""What MLflow holds of one sweep: found by the sweep's id, removed for good, or renamed.

    for client in stores(sweep, sweep_dir, home):
        found = find(client, sweep.sweep_id)
        found.num_bytes, found.versions
        remove(found)

A run that registered a version stays, with all that the version is loaded from. The runs of the sweep and of its trials
go, deleted ones too: where MLflow's store is a database, rows and artifacts; a server only marks runs as deleted, until its
owner runs `mlflow gc`.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlparse

from fersweep.common.files import disk_bytes
from fersweep.results.evaluate import ledger
from fersweep.results.mlflow_store import connection, saved_view
from fersweep.results.mlflow_store.addresses import sqlite_file, tracking_uri
from fersweep.results.mlflow_store.experiments import KIND, OF_SWEEP, find_experiment
from fersweep.results.mlflow_store.runs import all_runs
from fersweep.results.tracking import lag

if TYPE_CHECKING:
    from mlflow.entities import Experiment, LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

    from fersweep.results.record.sweep_json import SweepJson

T = TypeVar("T")
BUSY_S = 60.0  # for which a database that others write to is tried
BUSY = "another process is writing to MLflow's database"
ASKED_OF = f"{ledger.TAGS}model"  # tag of a line of the ledger
OWN = ("sweep", "trial")  # kinds of runs that a recorder makes


@dataclass(frozen=True)
class SweepRuns:
    """What a store holds of a sweep.

    Attributes:
        sweep_id: of the sweep.
        runs: those that belong to the sweep alone, its own run last.
        kept: those that registered versions rest on.
        models: that were logged by one of `runs`.
        versions: registered versions that are made of the sweep, of any registered model.
        experiments: id → experiment, of all of the store.
        num_bytes: of the artifacts of `runs` and `models` that are on this machine.
    """

    client: MlflowClient
    sweep_id: str
    runs: list[Run] = field(default_factory=list["Run"])
    kept: list[Run] = field(default_factory=list["Run"])
    models: list[LoggedModel] = field(default_factory=list["LoggedModel"])
    versions: list[ModelVersion] = field(default_factory=list["ModelVersion"])
    experiments: dict[str, Experiment] = field(default_factory=dict[str, "Experiment"])

    @property
    def uri(self) -> str:
        """Address of the store."""
        return str(self.client.tracking_uri)

    @property
    def is_served(self) -> bool:
        """Is it a server's store, where nobody but its owner removes anything for good?"""
        return hard_store(self.client) is None

    @property
    def num_bytes(self) -> int:
        return sum(disk_bytes(place) for place in filter(None, map(_place_of, [*self.runs, *self.models])))


def stores(sweep: SweepJson, sweep_dir: Path, home: Path) -> list[MlflowClient]:
    """The stores that may know a sweep: the one that it names, and the one under its home, where it may have been recorded
    before. None is made here. Raises what a store raises that cannot be reached, and OSError where the sweep was recorded in
    a file that is gone.
    """
    lost = sqlite_file(connection.sweep_store(sweep)[0])
    if lost is not None and not lost.exists() and lag.read_level(sweep_dir, lag.store_of(sweep)).offset:
        raise FileNotFoundError(
            f"{lost} is missing, and {sweep.name} was recorded in it: put it back, or record the sweep anew (status --sync; "
            "registered models are lost)"
        )
    places = [(sweep.home, sweep.asked.tracking.uri), (sweep.home, None), (Path(home).resolve(), None)]
    found: dict[str, MlflowClient] = {}
    for place, address in places:
        uri = tracking_uri(place, address)
        file = sqlite_file(uri)
        if uri not in found and (file is None or file.is_file()):
            found[uri] = connection.open_home(place, address)
    return list(found.values())


def hard_store(client: MlflowClient) -> Any:
    """The store behind a client, where it can remove for good, as `mlflow gc` does; None for a server."""
    store = client._tracking_client.store  # pyright: ignore[reportPrivateUsage]
    return store if hasattr(store, "_hard_delete_run") else None


def all_experiments(client: MlflowClient) -> dict[str, Experiment]:
    """Of a store, deleted ones too."""
    from mlflow.entities import ViewType

    found: dict[str, Experiment] = {}
    token: str | None = None
    while True:
        page = client.search_experiments(ViewType.ALL, page_token=token)
        found |= {str(experiment.experiment_id): experiment for experiment in page}
        token = page.token
        if not token:
            return found


def all_versions(client: MlflowClient) -> list[ModelVersion]:
    """Registered versions of all models."""
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(max_results=200, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def find(client: MlflowClient, sweep_id: str) -> SweepRuns:
    """Ask a store for all that it holds of a sweep."""
    experiments = all_experiments(client)
    query = f"tags.`fersweep.sweep_id` = '{sweep_id}'"
    runs = [run for experiment in experiments for run in all_runs(client, experiment, query)]
    versions = [version for version in all_versions(client) if _is_of(version, sweep_id, runs)]
    needed = {run_id for version in versions for run_id in _runs_of(version, runs)}
    kept = [run for run in runs if run.info.run_id in needed]
    rest = sorted(
        (run for run in runs if run.info.run_id not in needed),
        key=lambda run: run.data.tags.get("fersweep.kind") == "sweep",
    )
    return SweepRuns(client, sweep_id, rest, kept, logged_models(client, rest), versions, experiments)


def logged_models(client: MlflowClient, runs: Iterable[Run]) -> list[LoggedModel]:
    """The models that runs have logged; a recorder's log none."""
    found: list[LoggedModel] = []
    for run in runs:
        if run.data.tags.get("fersweep.kind") not in OWN:
            query = f"source_run_id = '{run.info.run_id}'"
            found += client.search_logged_models([run.info.experiment_id], query)
    return found


def _is_of(version: ModelVersion, sweep_id: str, runs: Sequence[Run]) -> bool:
    return version.tags.get("fersweep.sweep_id") == sweep_id or bool(_runs_of(version, runs))


def _runs_of(version: ModelVersion, runs: Sequence[Run]) -> list[str]:
    """Ids of the runs among `runs` that a version was registered from, or whose artifacts it is loaded from."""
    source = str(version.source or "")
    return [
        run.info.run_id
        for run in runs
        if version.run_id == run.info.run_id
        or run.info.run_id in source
        or source.startswith(f"{run.info.artifact_uri}/")
    ]


def remove(found: SweepRuns, beat: Callable[[], None] = lambda: None) -> list[str]:
    """Remove the runs of a sweep, its marks and what becomes empty → names of experiments that are removed with it.

    Each run is first marked as deleted, then loses its artifacts, then its rows: a kill in between leaves what `find` finds
    again. `beat`: after each run.
    """
    for model in found.models:
        remove_model(found.client, model)
    for run in found.runs:
        remove_run(found.client, run)
        beat()
    touched = {run.info.experiment_id for run in [*found.runs, *found.kept]}
    marks = (OF_SWEEP + found.sweep_id, saved_view.PREFIX + found.sweep_id)
    removed: list[str] = []
    for number, experiment in found.experiments.items():
        is_marked = any(mark in experiment.tags for mark in marks)
        for mark in marks:
            if mark in experiment.tags:
                with contextlib.suppress(Exception):  # of a deleted experiment, or of a server that cannot: a leftover
                    patient(lambda mark=mark, number=number: found.client.delete_experiment_tag(number, mark))
        if (is_marked or number in touched) and _remove_empty(found.client, number):
            removed.append(str(experiment.name))
    return removed


def remove_run(client: MlflowClient, run: Run) -> None:
    """Remove a run and its artifacts for good; on a server mark it as deleted."""
    store, run_id = hard_store(client), run.info.run_id
    if run.info.lifecycle_stage == "active":
        patient(lambda: client.delete_run(run_id))
    if store is not None:
        _remove_artifacts(client, str(run.info.artifact_uri), _place_of(run))
        patient(lambda: store._hard_delete_run(run_id))


def remove_model(client: MlflowClient, model: LoggedModel) -> None:
    """Remove a model that a run has logged, which no version rests on; on a server mark it as deleted."""
    store = hard_store(client)
    patient(lambda: client.delete_logged_model(model.model_id))
    if store is not None:
        _remove_artifacts(client, str(model.artifact_location), _place_of(model))
        patient(lambda: store._hard_delete_logged_model(model.model_id))


def rename(found: SweepRuns, name: str, tags_of: Callable[[Run], dict[str, str]]) -> None:
    """Let everything that stays of a sweep name it `name`: its runs, by `tags_of` a run, and its versions."""
    from mlflow.entities import RunTag

    for run in [*found.runs, *found.kept]:
        wanted = {"fersweep.sweep": name, **tags_of(run)}
        changed = [RunTag(*tag) for tag in wanted.items() if run.data.tags.get(tag[0]) != tag[1]]
        if changed and run.info.lifecycle_stage == "active":
            patient(lambda run=run, changed=changed: found.client.log_batch(run.info.run_id, tags=changed))
    for version in found.versions:
        if version.tags.get("fersweep.sweep_id") == found.sweep_id:
            patient(
                lambda version=version: found.client.set_model_version_tag(
                    version.name, version.version, "fersweep.sweep", name
                )
            )


def ledger_lines(client: MlflowClient, name: str) -> list[Run]:
    """The lines of the ledger of test that are of trials of the sweep `name`: `cnn:7`, `cnn:7 (5 seeds, median)`."""
    known = find_experiment(client, ledger.EXPERIMENT, ledger.LEDGER)
    if known is None:
        return []
    lines = all_runs(client, known.experiment_id, "")
    return [line for line in lines if line.data.tags.get(ASKED_OF, "").startswith(f"{name}:")]


def rename_ledger(client: MlflowClient, before: str, name: str) -> int:
    """Let the ledger's lines of a sweep name it `name`, so that a later sweep under the old one is another → how many."""
    lines = ledger_lines(client, before)
    for line in lines:
        model = name + line.data.tags[ASKED_OF].removeprefix(before)
        is_deleted = line.info.lifecycle_stage != "active"
        if is_deleted:  # it counts all the same
            patient(lambda line=line: client.restore_run(line.info.run_id))
        patient(lambda line=line, model=model: client.set_tag(line.info.run_id, ASKED_OF, model))
        if is_deleted:
            patient(lambda line=line: client.delete_run(line.info.run_id))
    return len(lines)


def patient(call: Callable[[], T]) -> T:
    """What `call` returns, tried again while a database is busy, of which stderr hears: SQLite has one writer at a time. What
    somebody else has removed meanwhile is no error. Raises TimeoutError where it stays busy.
    """
    deadline, said = time.monotonic() + BUSY_S, False
    while True:
        try:
            return call()
        except Exception as error:
            if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
                return None  # type: ignore[return-value]
            if "locked" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise TimeoutError(f"{BUSY}, for more than {BUSY_S:.0f} s") from error
            if not said:  # after the seconds for which SQLite itself has waited
                print(f"{BUSY}: waiting for its end, up to {BUSY_S:.0f} s", file=sys.stderr, flush=True)
                said = True
        time.sleep(0.2)


def _remove_empty(client: MlflowClient, number: str) -> bool:
    """Remove an experiment of ours, but the one of sweeps that name none, if no run, no model and no mark is left in it."""
    from mlflow.entities import ViewType

    experiment = client.get_experiment(number)
    is_ours = KIND.items() <= experiment.tags.items() and experiment.name not in (
        connection.EXPERIMENT,
        ledger.EXPERIMENT,
    )
    if not is_ours or any(tag.startswith(OF_SWEEP) for tag in experiment.tags):
        return False
    if client.search_runs([number], "", ViewType.ALL, 1) or client.search_logged_models([number], max_results=1):
        return False
    if experiment.lifecycle_stage == "active":
        patient(lambda: client.delete_experiment(number))
    if (store := hard_store(client)) is not None:
        patient(lambda: store._hard_delete_experiment(number))
    return True


def local_place(uri: str) -> Path | None:
    """The directory of an artifact's address that is on this machine; None for any other."""
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme and uri.startswith("/") else None


def _place_of(holder: Any) -> Path | None:
    """The directory that holds nothing but the artifacts of a run or a logged model: RUN_ID, m-MODEL_ID."""
    info = getattr(holder, "info", None)
    uri, name = (info.artifact_uri, info.run_id) if info is not None else (holder.artifact_location, holder.model_id)
    place = local_place(str(uri or ""))
    if place is None:
        return None
    return place.parent if place.name == "artifacts" and place.parent.name == name else place


def _remove_artifacts(client: MlflowClient, uri: str, place: Path | None) -> None:
    """Raises what a store of artifacts raises that cannot be reached."""
    if place is not None:
        if place.is_symlink():
            place.unlink()
        elif place.exists():
            shutil.rmtree(place)
        return
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with contextlib.suppress(FileNotFoundError):
        get_artifact_repository(uri, client.tracking_uri).delete_artifacts()
