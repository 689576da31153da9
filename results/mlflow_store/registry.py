"""Registered models in MLflow: find a version by alias or number, get its checkpoint, move an alias, read its history.

    version = find_version(open_registry(home), "champion")        # or "3"
    checkpoint = fetch(client, version)

Each move of an alias is written into the tags of the version that gets it, so the history is the versions' own.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import errno
import getpass
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.common.display.tables import table
from fersweep.common.errors import InputError
from fersweep.results.mlflow_store import connection
from fersweep.results.mlflow_store.other_homes import temporary_directory

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient
    from rich.console import RenderableType


MODEL = "fersweep"
CHAMPION = "champion"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # how MLflow says that there is no such version, alias
MOVES = "fersweep.moves"  # tag of a version: JSON list of the times that it was given an alias, see `move`
RECORDED = ("alias", "at", "action", "by", "before")  # what each entry of that list has


def open_registry(home: Path, uri: str | None = None) -> MlflowClient:
    """A client of the server at `uri` or FERSWEEP_TRACKING_URI, else of the store under `home`.

    InputError if nothing is recorded there yet.
    """
    uri = uri or os.environ.get("FERSWEEP_TRACKING_URI") or None
    if uri is None and not (Path(home) / "mlflow.db").exists():
        raise InputError(f"nothing is recorded under {home}: launch a sweep and promote it first")
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


@dataclass(frozen=True)
class Move:
    """An alias was given to a version.

    Attributes:
        at: when, seconds since 1970.
        action: "promoted", "forced" or "rolled back".
        by: name of the user.
        before: the version that had the alias before.
        details: what else was recorded, e.g. `gates`.
        tags: of the version.
        current: the version has the alias now, through this move.
    """

    version: str
    alias: str
    at: float
    action: str
    by: str
    before: str | None
    details: dict[str, Any]
    tags: dict[str, str]
    current: bool

    def as_json(self) -> dict[str, Any]:
        recorded = {name: getattr(self, name) for name in ("version", *RECORDED)}
        return {**recorded, **self.details, "tags": self.tags, "current": self.current}


def move(client: MlflowClient, alias: str, version: str, action: str, **details: Any) -> None:
    """Give `alias` to a version and record that in the version's tags. action, details: see Move; JSON-able."""
    before = holder(client, alias)
    moves = json.loads(client.get_model_version(MODEL, version).tags.get(MOVES, "[]"))
    entry = {
        "alias": alias,
        "at": time.time(),
        "action": action,
        "by": _user(),
        "before": before and str(before.version),
        **details,
    }
    client.set_model_version_tag(MODEL, version, MOVES, json.dumps([*moves, entry][-20:]))
    client.set_registered_model_alias(MODEL, alias, version)


def history(client: MlflowClient, alias: str = CHAMPION) -> list[Move]:
    """The moves of an alias, newest first."""
    now = holder(client, alias)
    entries = [
        (version, entry)
        for version in client.search_model_versions(f"name = '{MODEL}'")
        for entry in json.loads(version.tags.get(MOVES, "[]"))
        if entry["alias"] == alias
    ]
    entries.sort(key=lambda pair: -pair[1]["at"])
    moves: list[Move] = []
    for index, (version, entry) in enumerate(entries):
        number, recorded = str(version.version), {name: entry.pop(name) for name in RECORDED}
        current = index == 0 and now is not None and number == str(now.version)
        moves.append(Move(number, **recorded, details=entry, tags=dict(version.tags), current=current))
    return moves


def render(moves: list[Move]) -> RenderableType:
    """What `history` returned, as a table for the terminal."""
    from datetime import datetime

    shown = table(["when", "version", "", "sweep", "macro-F1", "before", "by"], 7)
    for move in moves:
        when = f"{datetime.fromtimestamp(move.at):%Y-%m-%d %H:%M}"
        action = f"{move.action}{' ←' if move.current else ''}"
        sweep = f"{move.tags.get('fersweep.sweep', '')}:{move.tags.get('fersweep.trial', '')}"
        macro_f1 = move.tags.get("test_macro_f1", "").split(" ")[0]
        shown.add_row(when, move.version, action, sweep, macro_f1, move.before or "–", move.by)
    return shown


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        return ""
