"""Where MLflow keeps things: the embedded store under the home directory, or the server that a sweep names.

The one place that imports MLflow's client, quietly: no telemetry, no migration log, no warnings of its own code.
"""

from __future__ import annotations

import functools
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "fersweep"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's page then shows model training, not GenAI
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def tracking_uri(home: Path, uri: str | None = None) -> str:
    """`uri` if a sweep names a server, else the SQLite file of the embedded store."""
    return uri or f"sqlite:///{Path(home).resolve() / 'mlflow.db'}"


def sweep_store(sweep: dict[str, Any]) -> tuple[str, str]:
    """Tracking address and experiment name of a sweep, from the contents of its `sweep.json`."""
    tracking = sweep["sweep"].get("tracking") or {}
    return tracking_uri(Path(sweep["home"]), tracking.get("uri")), tracking.get("experiment") or EXPERIMENT


def quiet() -> None:
    """Silence MLflow before it is imported. Must precede the first `import mlflow` of a process to be complete."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for category in (UserWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module="mlflow")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def connect(uri: str) -> MlflowClient:
    """A client of the tracking store and the registry at `uri`; the embedded store is created if need be."""
    quiet()
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        _gentle_sqlite()
    import mlflow  # noqa: F401 - importing the package sets its loggers up; they are quietened again below
    from mlflow.tracking import MlflowClient

    quiet()
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@functools.cache
def _gentle_sqlite() -> None:
    """Let SQLite write ahead and sync at checkpoints only: readers never wait, and the disk is left to the journal.

    A power cut may cost the store its last writes, never its soundness; the journal has them, and `record` makes them
    good. See SQLite's documentation of `journal_mode` and `synchronous`.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def on_connect(connection: Any, _: Any) -> None:
        if type(connection).__module__.startswith("sqlite3"):
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(Engine, "connect", on_connect)


def experiment_id(client: MlflowClient, name: str, home: Path) -> str:
    """Id of the experiment `name`, created if need be; in the embedded store its artifacts lie under `home`."""
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is not None:
        return known.experiment_id
    embedded = client.tracking_uri.startswith("sqlite:///")
    location = (Path(home).resolve() / "artifacts").as_uri() if embedded else None
    try:
        return client.create_experiment(name, artifact_location=location, tags=KIND)
    except MlflowException:  # another recorder was first
        known = client.get_experiment_by_name(name)
        if known is None:
            raise
        return known.experiment_id


def delete_artifacts(client: MlflowClient, run_id: str, path: str) -> None:
    """Delete the artifacts of a run below `path`; MLflow's client itself can only write them."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = str(client.get_run(run_id).info.artifact_uri)
    get_artifact_repository(uri, client.tracking_uri).delete_artifacts(path)
