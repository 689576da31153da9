"""Addresses of the embedded store under a home, as MLflow and SQLAlchemy read them: the one place that makes them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

PLAIN, QUOTED = "sqlite:///", "sqlite+pysqlite:///"


def tracking_uri(home: Path, uri: str | None = None) -> str:
    """`uri` if a sweep names a server, else the SQLite file of the embedded store."""
    return uri or sqlite_uri(Path(home).resolve() / "mlflow.db")


def sqlite_uri(path: Path) -> str:
    """Address of a SQLite file; SQLAlchemy takes a % in it for an escape, and a ? for the beginning of options.

    An address with escapes names its driver: of any other, MLflow makes the directory, and takes the escapes for its name.
    """
    quoted = quote(str(path))
    return f"{PLAIN if quoted == str(path) else QUOTED}{quoted}"


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite address; None for any other."""
    for prefix in (PLAIN, QUOTED):
        if uri.startswith(prefix):
            return Path(unquote(uri.removeprefix(prefix).partition("?")[0]))
    return None


def artifacts_uri(home: Path) -> str:
    """Address of a home's artifacts."""
    return (Path(home).resolve() / "artifacts").as_uri()


def file_uri(path: Path) -> str:
    """Address of a file or directory that is to be an artifact: MLflow takes a % in a path for an escape, but not in the
    last part of an address.
    """
    path = path.absolute()
    return f"{path.parent.as_uri()}/{path.name}"
