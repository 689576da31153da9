"""A new sweep's directory: made out of sight under its driver's lock, and given its name when it is whole.

`sweeps/.NAME.new` is locked first, then what is there is checked, then it is written; its rename to `sweeps/NAME` is where
the sweep begins. A launch that is killed before that leaves `.NAME.new`, which is no sweep: nobody lists it, it blocks no
name, and the next launch removes it.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fersweep.cluster.samplers import custom
from fersweep.common.errors import InputError
from fersweep.common.files import is_held, lock, nearest_directory, write_whole
from fersweep.common.own_code import copies
from fersweep.common.text import shell
from fersweep.common.untrusted import is_object, parse_json, read_regular
from fersweep.results.distil import answers
from fersweep.results.record.drivers import LOCK
from fersweep.results.record.home import UNFINISHED, resume_command
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import MOST_BYTES, SweepJson
from fersweep.search_spaces.sweep_file.own_code import code_of

MOMENT_S = 0.5  # for which `status` may hold a lock


@contextlib.contextmanager
def new_sweep(directory: Path) -> Iterator[Callable[[SweepJson, Mapping[str, bytes]], SweepJson]]:
    """Take the name of a new sweep, whose lock is held until the block ends → what makes its directory, and its place in
    its bucket, of the sweep and of files that are kept beside `sweep.json`, here and in the bucket (name → content).

    A block that fails before that leaves nothing. Raises InputError where a sweep of this name is there, or is being launched.
    """
    unfinished, above, begun = _unfinished(directory), nearest_directory(directory.parent), False

    def make(sweep: SweepJson, files: Mapping[str, bytes]) -> SweepJson:
        nonlocal begun
        sweep = _make(unfinished, directory, sweep, files)
        begun = True
        if number := _remove_unfinished(directory.parent):
            print(f"removed {number} unfinished directories of launches that were killed", file=sys.stderr)
        return sweep

    with _locked(unfinished, directory):
        try:
            refuse_existing(directory)
            yield make
        except BaseException:
            if not begun:
                _remove(unfinished, above)
            raise


def _remove(unfinished: Path, above: Path) -> None:
    """What a launch has made below `above`."""
    shutil.rmtree(unfinished, ignore_errors=True)
    for parent in unfinished.parents:
        if parent.absolute() == above:
            break
        with contextlib.suppress(OSError):  # another launch needs it
            parent.rmdir()


def refuse_existing(directory: Path) -> None:
    """InputError if the directory is there."""
    if directory.exists():
        raise InputError(
            f"{directory}: a sweep of this name exists; `{resume_command(directory)}` goes on with it, --name starts another"
        )


def refuse_launching(directory: Path) -> None:
    """InputError if another process is launching a sweep of this name."""
    if is_held(_unfinished(directory) / LOCK):
        raise _launching(directory)


def _launching(directory: Path) -> InputError:
    return InputError(
        f"{directory}: another process is launching a sweep of this name: wait for it, or give another --name"
    )


def refuse_stored(address: str, directory: Path) -> None:
    """InputError if a sweep's place in its bucket is taken, unless by a launch of `directory` that was killed here."""
    _stored(address, None, _sweep_id(_unfinished(directory)))


def _unfinished(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.new")


@contextlib.contextmanager
def _locked(unfinished: Path, directory: Path) -> Iterator[None]:
    """The lock is the driver's, and stays so when the directory is renamed."""
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        alone = lock(unfinished / LOCK, MOMENT_S)
    except TimeoutError:
        raise _launching(directory) from None
    except FileNotFoundError:  # it has just got its name
        refuse_existing(directory)
        raise
    with alone:
        yield


def _make(unfinished: Path, directory: Path, sweep: SweepJson, files: Mapping[str, bytes]) -> SweepJson:
    refuse_existing(directory)
    storage, killed = sweep.storage(directory), _sweep_id(unfinished)
    if killed is not None and storage.path is None:  # its bucket may know it already
        sweep = sweep.model_copy(update={"sweep_id": killed})
    content = sweep.as_bytes()
    (unfinished / "trials").mkdir(exist_ok=True)
    write_whole(unfinished / "sweep.json", content)
    code = custom.keep(sweep.asked.search.sampler)
    custom.write(code, unfinished)
    files = {**files, **own_code_files(sweep)}
    for name, part in files.items():
        (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(unfinished / name, part)
    if storage.path is None:
        _stored(storage.address, None, sweep.sweep_id)
        for name, part in {**code, **files}.items():  # what is there without sweep.json is no sweep
            storage.write(name, part)
        _stored(storage.address, content, sweep.sweep_id)
    try:
        unfinished.rename(directory)
    except OSError:
        refuse_existing(directory)
        raise
    return sweep


def own_code_files(sweep: SweepJson) -> dict[str, bytes]:
    """The copies of own code that a sweep's directory is to hold. Raises InputError."""
    return {path: content for code in code_of(sweep.asked) for path, content in copies.as_files(code).items()}


def _stored(address: str, content: bytes | None, own: str | None) -> None:
    """Write `sweep.json` to a sweep's place in its bucket; None: only check.

    InputError if that fails, or something is there but the `sweep.json` of the sweep `own`, which has not begun.
    """
    storage = Storage(address, retry_s=1)
    try:
        names = storage.names("")
        is_there = "sweep.json" in names
        if is_there and "journal" not in names and own is not None:
            is_there = parse_json(storage.read("sweep.json", MOST_BYTES))["sweep_id"] != own
        remains = [name for name in ("journal", "trials") if name in names]
        if not is_there and not remains and content is not None:
            storage.write("sweep.json", content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"storage {address}: {(str(error).splitlines() or [''])[0]}") from None
    if is_there:
        raise InputError(
            f"storage {address}: a sweep is there; `{shell('fersweep', 'resume', address)}` goes on with it"
        )
    if remains:
        raise InputError(
            f"storage {address}: {' and '.join(remains)} of a sweep without its sweep.json are there: put a copy of it back, "
            "finish its removal if that broke off (fersweep gc), or give another --name"
        )


def _content(directory: Path) -> dict[str, Any]:
    """Of the sweep.json in a directory; {} where there is none that can be read."""
    try:
        content = parse_json(read_regular(directory / "sweep.json", MOST_BYTES))
    except (OSError, ValueError):
        return {}
    return content if is_object(content) else {}


def _sweep_id(directory: Path) -> str | None:
    """Of the sweep in a directory; None where there is none that can be read."""
    sweep_id = _content(directory).get("sweep_id")
    return sweep_id if isinstance(sweep_id, str) else None


def _remove_unfinished(sweeps: Path) -> int:
    """Remove what launches that were killed have left → how many directories.

    One that asks for a bucket stays: the sweep's place there may be its own, which a launch of the same name takes.
    """
    number = 0
    for path in sorted(sweeps.glob(".*")):
        if not UNFINISHED.fullmatch(path.name) or not path.is_dir() or path.is_symlink():
            continue
        trials, names = path / "trials", {file.name for file in path.iterdir()}
        strange = names - {LOCK, "sweep.json", "trials", custom.COPIES, copies.DIRECTORY, answers.FILE} or (
            trials.is_dir() and any(trials.iterdir())
        )
        if strange or _asks_for_a_bucket(path):
            continue
        with contextlib.suppress(OSError, InputError), lock(path / LOCK, 0):  # held: it is being launched; or no lock
            shutil.rmtree(path, ignore_errors=True)
            number += 1
    return number


def _asks_for_a_bucket(directory: Path) -> bool:
    sweep = _content(directory).get("sweep")
    return is_object(sweep) and sweep.get("storage") is not None
