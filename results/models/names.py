"""The one name space of models under a home: sweeps, and the aliases and versions of the registry.

`evaluate champion` must mean one thing, so an alias may not be called like a sweep, nor a sweep like an alias. Older homes,
and a server that several homes share, may have both; then `@NAME` is the alias, and `NAME:TRIAL` a trial of the sweep.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

from fersweep.common.errors import InputError
from fersweep.common.text import printable
from fersweep.results.mlflow_store.registry import CHAMPION, MODEL

LONGEST = 255  # characters of an alias, for MLflow
RESERVED = "latest"


def check_alias(alias: str, home: Path | None = None) -> str:
    """`alias`, if MLflow takes it and no sweep under `home` (None: not looked at) has the name. Raises InputError."""
    where = f"--alias {printable(alias[:40])!r}"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", alias) or len(alias) > LONGEST:
        raise InputError(f"{where}: want up to {LONGEST} letters, digits, _ and -")
    if alias.lower() == RESERVED or re.fullmatch(r"[vV]?\d+", alias):
        raise InputError(f"{where}: such a name is a version's, or MLflow's own; want another, as {CHAMPION}")
    if home is not None and (Path(home) / "sweeps" / alias / "sweep.json").is_file():
        raise InputError(f"{where}: a sweep under {home} has this name; want another")
    return alias


def check_sweep_name(name: str, home: Path) -> None:
    """InputError if `name` would hide a registered model: an alias of the home's own store, `champion`, or a version."""
    if name == CHAMPION or name.isdigit():
        raise InputError(f"name: {name!r} is what a registered model is called; want another (--name NAME)")
    if name in aliases(home):
        raise InputError(f"name: {name!r} is an alias of a registered model under {home}; want another (--name NAME)")


def aliases(home: Path) -> list[str]:
    """The aliases in the home's own store, read without MLflow, which takes seconds; none where it cannot be read."""
    path = (Path(home) / "mlflow.db").resolve()
    if not path.is_file():
        return []
    with contextlib.suppress(sqlite3.Error):
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1)) as database:
            rows = database.execute("SELECT alias FROM registered_model_aliases WHERE name = ?", (MODEL,)).fetchall()
        return [str(alias) for (alias,) in rows]
    return []
