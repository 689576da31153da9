"""Where sweeps are: find one by its name or its address in a bucket, and the commands that go on with it."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.files import check_name, check_writable, lock, write_whole
from fersweep.common.text import masked, shell
from fersweep.results.record import journal
from fersweep.results.record.drivers import HEARTBEAT, LOCK
from fersweep.results.record.storage import Storage


def split_spec(spec: str) -> tuple[str, int | None]:
    """`cnn:7` → ("cnn", 7), `cnn` → ("cnn", None); the rest of a bucket's address stays whole."""
    name, mark, number = spec.rpartition(":")
    return (name, int(number)) if mark and number.isdigit() else (spec, None)


def find_sweep(home: Path, name: str) -> Path:
    """The directory of the sweep `name` under `home`; `name` may be an address in a bucket, which is copied there.

    Raises InputError naming the sweeps that are there.
    """
    sweeps = Path(home) / "sweeps"
    if "://" in name:
        return _adopt(sweeps, name)
    known = sweep_names(home)
    if name in known:
        return sweeps / name
    hint = f"known: {', '.join(known)}" if known else "there are none yet (fersweep launch makes one)"
    raise InputError(f"no sweep {name!r} in {sweeps}: {hint}")


def sweep_names(home: Path) -> list[str]:
    """The sweeps under `home`, sorted. A name that begins with a dot is of a launch that has not ended, or was killed."""
    found = (path.parent.name for path in (Path(home) / "sweeps").glob("*/sweep.json"))
    return sorted(name for name in found if not name.startswith("."))


def _adopt(sweeps: Path, address: str) -> Path:
    """The local directory of a sweep in a bucket, as it is there now, unless a driver here is ahead of it."""
    address = address.rstrip("/")
    if masked(address) != address:
        raise InputError(
            f"{address} holds a key, which shells and process lists would show. Give it without one: keys are read from the "
            "environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS)"
        )
    storage = Storage(address, retry_s=1)
    try:
        stored = json.loads(storage.read("sweep.json"))
        directory: Path = sweeps / stored["sweep"]["name"]
        here: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            here = json.loads((directory / "sweep.json").read_bytes())
        if here and here.get("sweep_id") != stored.get("sweep_id"):
            raise InputError(f"{address}: {directory} is another sweep of this name: want another --home")
        refresh(storage, directory)
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{address}: no sweep is stored there: {str(error).splitlines()[0]}") from None
    return directory


def refresh(storage: Storage, sweep_dir: Path) -> None:
    """`pull`, unless a driver on this machine is ahead of the bucket."""
    record = _stored(storage)
    if not sweep_dir.is_dir():
        _write(sweep_dir, *record)
        return
    with contextlib.suppress(TimeoutError), lock(sweep_dir / LOCK, 0):
        _write(sweep_dir, *record)


def pull(storage: Storage, sweep_dir: Path) -> None:
    """Make the local record of a sweep what it is in its bucket. The caller holds the sweep's lock.

    Raises InputError where the bucket has lost the journal: what is here may be the last copy.
    """
    _write(sweep_dir, *_stored(storage))


def _stored(storage: Storage) -> tuple[bytes, bytes]:
    """The journal and `sweep.json` in a bucket."""
    events = journal.Segments(storage).read()
    if not events:
        refuse_missing_journal(storage, journal.SweepRecord())
    return events, storage.read("sweep.json")


def _write(sweep_dir: Path, events: bytes, sweep_json: bytes) -> None:
    write_whole(sweep_dir / "journal.jsonl", events)
    write_whole(sweep_dir / "sweep.json", sweep_json)


def refuse_missing_journal(storage: Storage, record: journal.SweepRecord) -> None:
    """InputError where a journal without any event is not that of a sweep that has not begun: its trials left files."""
    if record.sessions or record.trials:
        return
    names, trials = storage.names(""), [name for name in storage.names("trials") if name.isdecimal()]
    if trials or HEARTBEAT in names:
        what = "journal.jsonl" if storage.path is not None else f"{journal.Segments.DIRECTORY}/"
        raise InputError(
            f"{storage.address}: its journal is missing, but the sweep has run: there are files of {len(trials)} trials; put a "
            f"copy of {what} back, or launch under another name (--name)"
        )


def check_home(home: Path) -> None:
    """Raises InputError if nothing can be written under `home`, or its name is none that all who store there can hold."""
    check_name(home, f"--home {home}")
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(home)):
        raise InputError(f"--home {home}: want a directory; `storage` of a sweep file puts its state into a bucket")
    nearest = next(path for path in (Path(home), *Path(home).absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"--home {home}: {nearest} is a file, where a directory is needed")
    check_writable(nearest, f"--home {home}")
    store = Path(home) / "mlflow.db"
    if store.exists() and not os.access(store, os.W_OK):
        raise InputError(
            f"--home {home}: {store} can be read, but not written: its owner lets the group with chmod g+w {store}*"
        )


def home_option(home: Path) -> str:
    """The option with which a command finds this home from the working directory: "" or " --home HOME"."""
    return "" if Path(home).resolve() == Path("runs").resolve() else f" {shell('--home', home)}"


def status_command(sweep_dir: Path) -> str:
    """The command that says where a sweep stands."""
    return _command("status", sweep_dir)


def resume_command(sweep_dir: Path) -> str:
    """The command that goes on with a sweep."""
    return _command("resume", sweep_dir)


def _command(verb: str, sweep_dir: Path) -> str:
    return f"{shell('fersweep', verb, Path(sweep_dir).name)}{home_option(Path(sweep_dir).parent.parent)}"
