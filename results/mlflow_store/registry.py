"""Registered models in MLflow: find a version by alias or number, get its checkpoint.

    version = find_version(open_registry(home), "champion")        # or "3"
    checkpoint = fetch(client, version)

The moves of an alias are results/promote/moves.py's.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import errno
import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.errors import InputError
from fersweep.common.text import masked
from fersweep.results.mlflow_store import connection
from fersweep.results.mlflow_store.addresses import sqlite_file
from fersweep.results.mlflow_store.other_homes import temporary_directory

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient


MODEL = "fersweep"
CHAMPION = "champion"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # how MLflow says that there is no such version, alias


def open_registry(home: Path, uri: str | None = None) -> MlflowClient:
    """A client of the server at `uri` or FERSWEEP_TRACKING_URI, else of the store under `home`.

    InputError if nothing is recorded there yet.
    """
    uri = uri or os.environ.get("FERSWEEP_TRACKING_URI") or None
    if uri is None and not (Path(home) / "mlflow.db").exists():
        raise InputError(f"nothing is recorded under {home}: launch a sweep and promote it first")
    file = None if uri is None else sqlite_file(uri)
    if file is not None and not file.is_file():  # which MLflow would make
        raise InputError(f"nothing is recorded at {masked(str(uri))}: there is no such file")
    return connection.open_home(home, uri)


def holder(client: MlflowClient, alias: str) -> ModelVersion | None:
    """The version that has `alias` now, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(MODEL, alias)
    except MlflowException as error:
        if error.error_code not in ABSENT:  # a server that is away has not said that there is none
            raise
        return None


def find_version(client: MlflowClient, name: str) -> ModelVersion:
    """The version called by its alias or by its number. InputError naming the aliases and versions that there are."""
    from mlflow.exceptions import MlflowException

    try:
        return (
            client.get_model_version(MODEL, name) if name.isdigit() else client.get_model_version_by_alias(MODEL, name)
        )
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        models = client.search_registered_models(f"name = '{MODEL}'")
        known = ", ".join(sorted(models[0].aliases)) if models else ""
        versions = sorted(int(version.version) for version in client.search_model_versions(f"name = '{MODEL}'"))
        known += f"; versions: {versions[0]} to {versions[-1]}" if versions else ""
        what = f"version {name}" if name.isdigit() else f"alias {name!r}"
        raise InputError(f"no model has the {what}; known: {known or 'none yet, promote a sweep'}") from None


def fetch(client: MlflowClient, version: ModelVersion) -> Path:
    """The checkpoint of a registered version: its directory, downloaded if the store is a server."""
    import mlflow
    from mlflow.artifacts import download_artifacts

    mlflow.set_tracking_uri(client.tracking_uri)
    mlflow.set_registry_uri(client.tracking_uri)
    uri = f"models:/{MODEL}/{version.version}"
    try:
        directory = Path(download_artifacts(uri, tracking_uri=client.tracking_uri))
    except OSError as error:  # MLflow writes a file beside the model's, here into a home that can only be read
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        directory = Path(download_artifacts(uri, tracking_uri=client.tracking_uri, dst_path=temporary_directory()))
    return next(directory.glob("artifacts/*/model.json")).parent


def artifact(client: MlflowClient, version: ModelVersion, name: str) -> str | None:
    """Text of an artifact of the run that registered a version; None where there is none."""
    import tempfile

    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as directory:
        try:
            return Path(client.download_artifacts(str(version.run_id), name, directory)).read_text()
        except (OSError, MlflowException):
            return None


def user_name() -> str:
    """Of whoever runs this; "" where the user id has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
