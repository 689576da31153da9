"""Where sweeps are: find one by its name or its address in a bucket, and the commands that go on with it.

A sweep that is being removed or renamed is hidden, so that no verb takes half a sweep for a sweep: `sweeps/cnn` becomes
`sweeps/.cnn.3f2a9c81.removed`, or, between two names, `sweeps/.NEW.3f2a9c81.moved`. What a kill leaves of it is named
wherever the sweep is looked for (`begun`).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.common.files import check_name, check_writable, is_held, lock, write_whole
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import is_own
from fersweep.common.text import masked, one_line, shell
from fersweep.common.untrusted import MB, is_object, is_plain_name, parse_json, read_regular
from fersweep.results.record import journal
from fersweep.results.record.drivers import HEARTBEAT, LOCK, kept_by
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import MOST_BYTES, parse_sweep_json, read_sweep_json
from fersweep.search_spaces.sweep_file.own_code import own_code

RECORD = ("sweep.json", "journal.jsonl")
UNFINISHED = re.compile(r"\..+\.new|\..+-[0-9a-f]{8}")
"""Directories of launches that have not begun (cluster/new_sweep.py); the second: of versions before 0.2."""
REMOVED, MOVED = "removed", "moved"
HIDDEN = re.compile(r"\.(?P<name>.+)\.(?P<id>[0-9a-zA-Z_-]{1,8})\.(?P<what>removed|moved)")
LAUNCHING = "lock"  # in background_place: held, with its number in it, by the process that launches there
LAUNCHED_AT = "FERSWEEP_LAUNCHED_AT"  # variable of that process: background_place
MOVE = "move.json"  # in the directory of a sweep that is being renamed: {"from": OLD, "to": NEW}


def background_place(sweep_dir: Path) -> Path:
    """Where a sweep that runs in the background (`fersweep.launch(…, wait=False)`) has its log: beside its directory, under a name
    that nobody takes for a sweep's.
    """
    return sweep_dir.with_name(f".{sweep_dir.name}.launch")


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
    known = sweep_directories(home)
    if is_plain_name(name) and sweeps / name in known:
        return sweeps / name
    pending = begun(home, name)
    hint = (
        f"known: {', '.join(directory.name for directory in known)}"
        if known
        else f"{why_none(home)}; `fersweep launch` makes one"
    )
    raise InputError(f"no sweep {one_line(repr(name), 100)} in {sweeps}: {'; '.join([*pending, hint])}")


def is_home(home: Path) -> bool:
    """Has anything of ours been made there: a sweep, MLflow's store, a dataset?"""
    return any((Path(home) / name).exists() for name in ("sweeps", "mlflow.db", "data"))


def why_none(home: Path) -> str:
    """Why there is no sweep in a home, in words."""
    home = Path(home)
    near = next((place for place in (home.parent, home.parent.parent, home / "runs") if sweep_names(place)), None)
    meant = "" if near is None else f"; --home {near} has some"
    if is_home(home):
        return f"none was launched yet{meant}"
    if not home.exists():
        return f"there is no such directory{meant}"
    return f"{'it is no home, which has a directory `sweeps`' if holds_anything(home) else 'it is empty'}{meant}"


def holds_anything(path: Path) -> bool:
    """Is it a file, or a directory that is not empty?"""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def sweep_names(home: Path) -> list[str]:
    """The sweeps under `home`, sorted: see `sweep_directories`."""
    return [directory.name for directory in sweep_directories(home)]


def sweep_directories(home: Path) -> list[Path]:
    """Directories of sweeps, whole or damaged, by name; a launch prepares its own under a name that begins with a dot."""
    sweeps = Path(home) / "sweeps"
    try:
        names = sorted(name for name in os.listdir(sweeps) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [sweeps / name for name in names if any(os.path.lexists(sweeps / name / file) for file in RECORD)]


def hidden_path(directory: Path, sweep_id: str, what: str) -> Path:
    """Where a sweep's directory is while it is removed or moved."""
    return directory.with_name(f".{directory.name}.{sweep_id[:8]}.{what}")


def hidden(home: Path, what: str, name: str | None = None) -> list[Path]:
    """Directories of sweeps that are being removed, or moved, or were when that broke off; `name`: of this one alone."""
    sweeps = Path(home) / "sweeps"
    found: list[Path] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in sorted(os.listdir(sweeps)):
            match = HIDDEN.fullmatch(entry)
            if match and match["what"] == what and name in (None, match["name"]):
                found.append(sweeps / entry)
    return found


def is_hidden(path: Path) -> bool:
    """Is it the directory of a sweep that is being removed or moved?"""
    return HIDDEN.fullmatch(path.name) is not None


def name_of_hidden(path: Path) -> str:
    """The name of the sweep whose hidden directory this is."""
    match = HIDDEN.fullmatch(path.name)
    return match["name"] if match else path.name


def read_move(directory: Path) -> tuple[str, str] | None:
    """(old name, new name) of a sweep that is being renamed; None where it is not."""
    with contextlib.suppress(OSError, ValueError):
        content = parse_json(read_regular(directory / MOVE, MB))
        if is_object(content) and is_plain_name(content.get("from")) and is_plain_name(content.get("to")):
            return content["from"], content["to"]
    return None


def begun_moves(home: Path) -> list[Path]:
    """Directories of sweeps that are being renamed, or were when that broke off."""
    return [path for path in [*hidden(home, MOVED), *sweep_directories(home)] if (path / MOVE).is_file()]


def begun(home: Path, name: str | None = None) -> list[str]:
    """A line on each removal and renaming under `home` that is under way or broke off: who is at work, or what finishes it;
    of a sweep, also on another process that is about to begin it.

    `name`: of this sweep alone, by its old or its new name.
    """
    where, lines = home_option(home), list[str]()
    for path in hidden(home, REMOVED, name):
        sweep = name_of_hidden(path)
        lines.append(_begun(path, sweep, f"removing {sweep}", f"{shell('fersweep', 'rm', sweep)}{where}"))
    if name is not None and is_plain_name(name) and (line := _launching(Path(home) / "sweeps" / name)) is not None:
        lines.append(line)
    return lines + begun_renamings(home, name)


def _launching(directory: Path) -> str | None:
    place = background_place(directory)
    if (directory / "sweep.json").exists() or os.environ.get(LAUNCHED_AT) == os.path.abspath(place):
        return None
    with contextlib.suppress(OSError, ValueError):
        if is_held(place / LAUNCHING):
            process = read_regular(place / LAUNCHING, 100).decode()
            return f"process {process} is about to begin it: {place / 'log'} says how far it is"
    return None


def begun_renamings(home: Path, name: str | None = None) -> list[str]:
    """As `begun`, of renamings alone."""
    where, lines = home_option(home), list[str]()
    for path in begun_moves(home):
        old, new = read_move(path) or (path.name, None)
        if new is None:
            if name in (None, old):
                lines.append(f"{path / MOVE} cannot be read: remove it, if {path.name} is the right name")
        elif name in (None, old, new):
            command = f"{shell('fersweep', 'mv', old, new)}{where}"
            lines.append(_begun(path, old, f"renaming {old} to {new}", command))
    return lines


def _begun(path: Path, sweep: str, what: str, command: str) -> str:
    kept = kept_by(path)
    return f"{what} broke off: `{command}` finishes it" if kept is None else f"{sweep} is {kept}: wait for its end"


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
        directory, _ = _stored(storage, sweeps)
        refresh(storage, directory)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{address}: no sweep is stored there: {str(error).splitlines()[0]}") from None
    return directory


def _stored(storage: Storage, sweeps: Path) -> tuple[Path, bytes]:
    """Where the sweep that is stored in a bucket belongs below `sweeps`, and its sweep.json. Raises InputError where that
    is none, or another sweep is there; OSError.
    """
    content = storage.read("sweep.json", MOST_BYTES)
    stored = parse_sweep_json(content, f"{storage.address}: sweep.json", sweeps.resolve().parent)
    directory = sweeps / stored.name
    if os.path.lexists(directory / "sweep.json") and read_sweep_json(directory).sweep_id != stored.sweep_id:
        raise InputError(f"{storage.address}: {directory} is another sweep of this name: want another --home")
    return directory, content


def refresh(storage: Storage, sweep_dir: Path) -> None:
    """`pull`, unless a driver on this machine is ahead of the bucket."""
    record = _record(storage, sweep_dir)
    if not sweep_dir.is_dir():
        _write(sweep_dir, record)
        return
    with contextlib.suppress(TimeoutError), lock(sweep_dir / LOCK, 0):
        _write(sweep_dir, record)


def pull(storage: Storage, sweep_dir: Path) -> None:
    """Make the local record of a sweep what it is in its bucket. The caller holds the sweep's lock.

    Raises InputError where what the bucket holds is no record of this sweep, or it has lost the journal (what is here may
    be the last copy), and OSError; nothing is written then.
    """
    _write(sweep_dir, _record(storage, sweep_dir))


def _record(storage: Storage, sweep_dir: Path) -> dict[str, bytes]:
    """The journal, `sweep.json` and what is missing here of own code, in a bucket. As `pull`."""
    directory, content = _stored(storage, Path(sweep_dir).parent)
    if directory.name != Path(sweep_dir).name:
        raise InputError(
            f"{storage.address}: sweep.json is that of sweep {directory.name!r}, not of {Path(sweep_dir).name!r}"
        )
    events = journal.Segments(storage).read()
    if not events:
        refuse_missing_journal(storage, journal.SweepRecord())
    code = _code(storage, content, Path(sweep_dir))
    return {"journal.jsonl": events, **code, "sweep.json": content}


def _code(storage: Storage, content: bytes, sweep_dir: Path) -> dict[str, bytes]:
    """The copies of own code that a sweep needs and its local directory lacks. What they hold is checked when they are run."""
    asked = parse_sweep_json(content, f"{storage.address}: sweep.json", sweep_dir.resolve().parents[1]).asked
    files: dict[str, bytes] = {}
    for _, name in own_code(asked):
        copy = f"{copies.DIRECTORY}/{name}"
        if not (sweep_dir / copy).is_dir() and name in storage.names(copies.DIRECTORY):
            files |= storage.read_all(copy)
    return files


def _write(sweep_dir: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        (sweep_dir / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(sweep_dir / path, content)


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


def check_own(sweep_dir: Path, name: str) -> None:
    """`check_links`, and InputError where the directory is called otherwise than the sweep `name` in it: a copy of it."""
    check_links(sweep_dir)
    if Path(sweep_dir).resolve().name != name:
        raise InputError(
            f"{sweep_dir}: its sweep.json is that of {name!r}: a copy of a sweep under another name is no other sweep; give the "
            "directory its name back, or put the copy into another --home"
        )


def check_links(sweep_dir: Path) -> None:
    """Before anything is written there: InputError where what is in the directory of a sweep is a link that leads out of the
    home, as in somebody else's archive.
    """
    directory = Path(sweep_dir).resolve()
    for below in (directory, directory / "trials", directory / "refit"):
        for entry in sorted(below.iterdir()) if below.is_dir() else ():
            if entry.is_symlink() and directory.parents[1] not in entry.resolve().parents:
                raise InputError(
                    f"{entry}: a link that leads out of the home, where nothing is written: put the file there"
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


def retry_options(trainable: str) -> str:
    """Options of `resume` that run failed trials once more; somebody's own trainable was mended before."""
    return f"--retry-failed{' --accept-code' * is_own(trainable)}"


def _command(verb: str, sweep_dir: Path) -> str:
    return f"{shell('fersweep', verb, Path(sweep_dir).name)}{home_option(Path(sweep_dir).parent.parent)}"
