"""A home that is not as its embedded store left it: moved elsewhere, or another user's, which can only be read."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

from fersweep.results.mlflow_store.addresses import artifacts_uri

MOVED = (  # where the embedded store keeps absolute paths
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def is_read_only(home: Path) -> bool:
    """Whether there is a store under `home` that this user can read, but not write."""
    store = home / "mlflow.db"
    return store.exists() and not (os.access(home, os.W_OK) and os.access(store, os.W_OK))


def temporary_directory() -> str:
    """A new directory, which lasts as long as this process."""
    directory = tempfile.mkdtemp(prefix="fersweep-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@functools.cache
def copy_of_store(home: Path) -> Path:
    """A copy of the embedded store, which lasts as long as this process: SQLite writes where it reads."""
    directory = Path(temporary_directory())
    for name in ("mlflow.db", "mlflow.db-wal"):  # the second has what is not in the first yet
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(home / name, directory / name)
    follow_move(home, directory / "mlflow.db")
    return directory / "mlflow.db"


def follow_move(home: Path, store: Path | None = None) -> None:
    """Let the embedded store look for its artifacts where `home` is now: MLflow keeps absolute paths.

    `store`: the file of the store, where that is a copy.

    Only paths under the home that the store was made in are rewritten, all or none; a store that did not move, or
    does not exist, is left alone. Raises OSError if the store is damaged.
    """
    store = store or Path(home).resolve() / "mlflow.db"
    if not store.exists():
        return
    try:
        _follow_move(store, artifacts_uri(home))
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise OSError(f"{store} is locked: another process is writing to it; wait for its end") from None
        raise OSError(
            f"{store} is damaged ({error}): put a copy back, or move it away and record the sweeps anew "
            "(status --sync; registered models are lost)"
        ) from None


def _follow_move(store: Path, here: str) -> None:
    with contextlib.closing(sqlite3.connect(store, timeout=20, isolation_level=None)) as database:
        if not _former_homes(database, here):
            return
        database.execute("BEGIN IMMEDIATE")
        for before in _former_homes(database, here):
            for table, column in MOVED:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (here, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )
        database.execute("COMMIT")
    if (mlflows := sys.modules.get("mlflow.tracking._tracking_service.utils")) is not None:
        mlflows._artifact_repos_cache.clear()  # where this process, by its runs, knew the artifacts


def _former_homes(database: sqlite3.Connection, here: str) -> list[str]:
    """Directories `artifacts` of other homes that experiments of this store point at; none if the store is half made."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'model_versions'").fetchone():
        return []
    locations = database.execute(
        "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE 'file:///%/artifacts'"
    )
    return [location for (location,) in locations if location != here]
