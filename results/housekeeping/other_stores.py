"""Stores of MLflow beside the embedded one that keep artifacts under a home: a database that a sweep named.

A server has a place of its own for artifacts; a database that is reached directly has none, so they are below the home.
`gc` must ask all of them before it says that an artifact is nobody's. A sweep names its store; of sweeps that were removed,
and of which versions stay, `artifacts/.stores` does: addresses without their passwords.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.files import write_whole
from fersweep.common.text import masked
from fersweep.results.mlflow_store.addresses import tracking_uri
from fersweep.results.record.home import sweep_directories
from fersweep.results.record.sweep_json import read_sweep_json

FILE = ".stores"  # in a home's artifacts


def keeps_here(uri: str, home: Path) -> bool:
    """Does the store at `uri` keep artifacts under the home, and is it not the embedded one?"""
    return not uri.startswith(("http:", "https:")) and uri != tracking_uri(home)


def remember(home: Path, uri: str) -> None:
    """Keep the address of a store that has artifacts under the home."""
    if keeps_here(uri, home):
        known = {*_remembered(home), masked(uri)}
        write_whole(Path(home) / "artifacts" / FILE, "".join(f"{each}\n" for each in sorted(known)).encode())


def known(home: Path) -> tuple[list[str], list[str]]:
    """(addresses of stores that may keep artifacts here, those whose password nobody knows any more)."""
    addresses = [os.environ.get("FERSWEEP_TRACKING_URI", "")]
    for directory in sweep_directories(home):
        with contextlib.suppress(InputError):
            addresses.append(read_sweep_json(directory).asked.tracking.uri or "")
    found = [uri for uri in dict.fromkeys(addresses) if uri and keeps_here(uri, home)]
    for uri in _remembered(home):
        if uri not in map(masked, found) and masked(f"{uri} ") == f"{uri} " and "***" not in uri:
            found.append(uri)
    lost = [uri for uri in _remembered(home) if uri not in map(masked, found)]
    return found, lost


def _remembered(home: Path) -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        return (Path(home) / "artifacts" / FILE).read_text().splitlines()
    return []
