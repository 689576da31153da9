"""Where MLflow keeps things: the embedded store under the home directory, or the server that a sweep names.

The one place that imports MLflow's client, quietly: no telemetry, no migration log, no warnings of its own code.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import shutil
import sqlite3
import traceback
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.common.errors import InputError, install, not_installed
from fersweep.common.files import lock, write_whole
from fersweep.common.text import masked
from fersweep.results.mlflow_store.addresses import artifacts_uri, sqlite_file, sqlite_uri, tracking_uri
from fersweep.results.mlflow_store.experiments import experiment_id
from fersweep.results.mlflow_store.other_homes import copy_of_store, follow_move, is_read_only
from fersweep.results.record.sweep_json import SweepJson

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


TABLES = Path(__file__).with_name("empty_store.sql")
EXPERIMENT = "fersweep"
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # An unreachable server is an error at once. MLflow itself retries for minutes, and sends again what may have
    # arrived, which makes a run twice; the recorder tries again by itself, and finds what did arrive.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
FLUENT = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ACTIVE_MODEL_ID")
REASON_LENGTH = 200


def home_of(sweep_dir: Path) -> Path:
    """The home that holds a sweep's directory now; `home` in its sweep.json is the one that it was launched in."""
    return Path(sweep_dir).resolve().parents[1]


def sweep_store(sweep: SweepJson) -> tuple[str, str]:
    """Tracking address and experiment name of a sweep, from the contents of its `sweep.json`."""
    tracking = sweep.asked.tracking
    return tracking_uri(sweep.home, tracking.uri), tracking.experiment or EXPERIMENT


def open_store(sweep: SweepJson) -> tuple[MlflowClient, str]:
    """A client of a sweep's store, and the id of its experiment there."""
    uri, experiment = sweep_store(sweep)
    client = open_home(sweep.home, sweep.asked.tracking.uri)
    if client.tracking_uri != uri:  # of a copy
        raise PermissionError(errno.EACCES, f"{sweep.home}: its MLflow store is another user's, and may only be read")
    return client, experiment_id(client, experiment, sweep.home, sweep.sweep_id)


def quiet() -> None:
    """Silence MLflow before it is imported. Must precede the first `import mlflow` of a process to be complete."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for category in (UserWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module="mlflow")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):  # log, with a traceback, what they also raise
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("mlflow.utils.environment").setLevel(
        logging.ERROR
    )  # warns in an environment without pip, as uv's are


def open_home(home: Path, uri: str | None = None) -> MlflowClient:
    """A client of the server at `uri`, or of the embedded store under `home`, wherever that was moved to.

    The embedded store is created if need be, by one process at a time: MLflow itself does not guard against two. Of a home
    that cannot be written, another user's, it is a client of a copy: who writes checks the home first (`check_home`).
    """
    if uri is not None:
        return connect(uri)
    home = Path(home).resolve()
    if is_read_only(home):
        return connect(sqlite_uri(copy_of_store(home)))
    home.mkdir(parents=True, exist_ok=True)
    with lock(home / "mlflow.lock"):
        if not (home / "mlflow.db").exists():
            _make_store(home / "mlflow.db")
        follow_move(home)
        return connect(tracking_uri(home))


def is_embedded(client: MlflowClient, home: Path) -> bool:
    """Whether a client is of the store that lies in a home, and not of a server."""
    file = sqlite_file(client.tracking_uri)
    return file is not None and Path(file).resolve().is_relative_to(Path(home).resolve())


def _make_store(path: Path) -> None:
    """Make the embedded store under another name first: MLflow makes its tables one by one, and does not repair what it
    left if it is killed, or the disk is full, in between.
    """
    fresh = path.with_name(".mlflow.db.new")
    for leftover in path.parent.glob(f"{fresh.name}*"):
        leftover.unlink()
    fresh.touch()  # with the rights that umask asks for, which its -wal and -shm take over: SQLite's own are 0644
    _write_tables(fresh)
    _import_mlflow()
    _gentle_sqlite()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # A client's store gives MLflow's own experiment a place below the working directory, in SQL that a ' in it breaks.
    SqlAlchemyStore(sqlite_uri(fresh), artifacts_uri(path.parent)).engine.dispose()
    with contextlib.closing(sqlite3.connect(fresh)) as database:
        database.execute("PRAGMA journal_mode=DELETE")  # all that was written ahead is in the file
    fresh.rename(path)


def _write_tables(fresh: Path) -> None:
    """Write the tables of an empty store as this version of MLflow makes them by fifty migrations, which takes it most of a
    second; nothing for another version: then MLflow makes its own.
    """
    tables = TABLES.read_text()
    if tables.startswith(tables_of(version("mlflow"))):
        with contextlib.closing(sqlite3.connect(fresh)) as database:
            database.executescript(tables)


def tables_of(mlflow_version: str) -> str:
    """The first line of TABLES where they are that version's."""
    return f"-- Tables of MLflow {mlflow_version}, by docs/generate/mlflow_tables.py\n"


def connect(uri: str) -> MlflowClient:
    """A client of the tracking store and the registry at `uri`; the embedded store is created if need be."""
    _import_mlflow()
    if (file := sqlite_file(uri)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        _gentle_sqlite()
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client._get_registry_client()  # pyright: ignore[reportPrivateUsage]  # which opens the store
    except ImportError as error:  # of a database's driver
        raise InputError(f"MLflow cannot open {masked(uri)}: {driver_missing(error)}") from None
    except ValueError as error:  # it is no address
        raise InputError(f"MLflow cannot open {masked(uri)}: {_short(str(error))}") from None
    return client


def driver_missing(error: ImportError) -> str:
    """Which driver of a database is not installed, and what brings it."""
    if error.name == "psycopg":  # SQLAlchemy's for an address that names none
        return f"want postgresql+psycopg2://…, whose driver {install('postgres')} brings"
    return not_installed(error) or _short(str(error))


def _import_mlflow() -> None:
    quiet()
    import mlflow  # noqa: F401 - importing the package sets its loggers up; they are quietened again below

    quiet()


@functools.cache
def _gentle_sqlite() -> None:
    """Let SQLite write ahead and sync at checkpoints only: readers never wait, and the disk is left to the journal.

    A power cut may lose the store's last writes but never corrupts it; the journal has them, and `record` writes them
    again. See SQLite's documentation of `journal_mode` and `synchronous`.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def on_connect(connection: Any, _: Any) -> None:
        if type(connection).__module__.startswith("sqlite3"):
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(Engine, "connect", on_connect)


@contextlib.contextmanager
def without_fluent_environment() -> Iterator[None]:
    """Hide from MLflow what the environment tells it while the block runs: which run to go on with (`mlflow.start_run`
    does), in which experiment, and which model metrics are of. They are the user's own.
    """
    hidden = {name: os.environ.pop(name) for name in FLUENT if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def log_artifacts(client: MlflowClient, run_id: str, directory: Path, path: str = "") -> None:
    """Make the files of `directory` artifacts of a run, in its directory `path`. What has their names is replaced, whole.

    MLflow's own copy keeps times, which only a file's owner may set: it would fail on files of another user of the home.
    """
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    repository = _artifacts(client, run_id)
    if not isinstance(repository, LocalArtifactRepository):
        repository.log_artifacts(str(directory), path or None)
        return
    for file in Path(directory).rglob("*"):
        if file.is_file():
            target = Path(repository.artifact_dir) / path / file.relative_to(directory)
            write_whole(target, file.read_bytes(), sync=False)


def delete_artifacts(client: MlflowClient, run_id: str, path: str) -> None:
    """Delete an artifact of a run, or all in its directory `path`; MLflow's client itself can only write them."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    repository = _artifacts(client, run_id)
    if isinstance(repository, LocalArtifactRepository):  # whose method takes a % in the path for an escape
        artifact = Path(repository.artifact_dir) / path
        shutil.rmtree(artifact, ignore_errors=True)
        with contextlib.suppress(OSError):
            artifact.unlink(missing_ok=True)
    else:
        repository.delete_artifacts(path)


def _artifacts(client: MlflowClient, run_id: str) -> Any:
    """The repository of a run's artifacts."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(str(client.get_run(run_id).info.artifact_uri), client.tracking_uri)


def refusal(error: Exception) -> str | None:
    """Why MLflow never takes what was sent, however often it is sent; None: it may take it another time."""
    code = getattr(error, "error_code", None)  # of an MlflowException
    deleted = "must be in the 'active' state" in str(error)  # which is restored
    if (code == "INVALID_PARAMETER_VALUE" and not deleted) or isinstance(error, ArithmeticError | UnicodeError):
        return one_line(error, "")
    return None


def one_line(error: BaseException, uri: str) -> str:
    """What went wrong with the store at `uri`, without the many lines that HTTP and SQL libraries make of it, and without
    the passwords in addresses.
    """
    of_mlflow = any(parent.__name__ == "MlflowException" for parent in type(error).__mro__)  # without importing MLflow
    if (of_mlflow and "Response body:" in str(error)) or type(error).__module__.startswith("google.protobuf"):
        return f"{masked(uri)}: what answers is no MLflow server ({_short(' '.join(str(error).split()))})".lstrip(": ")
    if not of_mlflow and not isinstance(error, OSError):
        frames = traceback.extract_tb(error.__traceback__)[-1:]  # a mistake of ours: say where
        where = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in frames)
        return _short(f"{type(error).__name__}: {error}") + where
    cause: BaseException = error
    while uri.startswith("http") and (deeper := below(cause)):
        cause = deeper
    if cause is not error and (isinstance(cause, OSError) or type(cause).__module__.startswith("urllib3")):
        return f"{masked(uri)} does not answer ({_short(getattr(cause, 'strerror', None) or str(cause))})"
    return _short(str(error))


def below(error: BaseException) -> BaseException | None:
    """The cause of an error; urllib3 also passes it on as an argument."""
    return (
        error.__cause__
        or error.__context__
        or next((part for part in error.args if isinstance(part, BaseException)), None)
    )


def _short(text: str) -> str:
    line = masked(next(iter(text.strip().splitlines()), ""))
    return line if len(line) <= REASON_LENGTH else f"{line[:REASON_LENGTH]}…"
