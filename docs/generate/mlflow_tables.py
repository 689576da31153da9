"""Write results/mlflow_store/empty_store.sql: the tables of an empty store, as the installed MLflow makes them.

    .venv/bin/python docs/generate/mlflow_tables.py

To be run with a new version in requirements.lock: for any other, MLflow makes its tables itself, which takes longer.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fersweep.results.mlflow_store import connection


def tables() -> str:
    """As SQL, without the experiment that MLflow makes in each store: its place is the store's own."""
    with tempfile.TemporaryDirectory() as home, mock.patch.object(connection, "TABLES", Path(os.devnull)):
        connection.open_home(Path(home))
        with contextlib.closing(sqlite3.connect(Path(home, "mlflow.db"))) as database:
            lines = [line for line in database.iterdump() if not line.startswith('INSERT INTO "experiments"')]
    return connection.tables_of(version("mlflow")) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    connection.TABLES.write_text(tables())
