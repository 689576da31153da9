"""Find and read what a sweep left on disk: `sweep.json` (what was asked) and the journal (what happened).

Imports neither MLflow nor a framework, so that looking at a sweep is instant.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.task import Task, TaskSpec
from results import checkpoints, journal
from results.journal import SweepRecord, TrialRecord
from results.storage import Storage, write_whole


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
    if (sweeps / name / "sweep.json").is_file():
        return sweeps / name
    known = sorted(path.parent.name for path in sweeps.glob("*/sweep.json"))
    hint = f"known: {', '.join(known)}" if known else "there are none yet (fersweep launch makes one)"
    raise InputError(f"no sweep {name!r} in {sweeps}: {hint}")


def _adopt(sweeps: Path, address: str) -> Path:
    """The local directory of a sweep in a bucket: made anew where the machine that had it is lost."""
    address = address.rstrip("/")
    try:
        storage = Storage(address, retry_s=1)
        directory = sweeps / json.loads(storage.read("sweep.json"))["sweep"]["name"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{address}: no sweep is stored there: {str(error).splitlines()[0]}") from None
    if not (directory / "sweep.json").exists():
        pull(storage, directory)
    return directory


def pull(storage: Storage, sweep_dir: Path) -> None:
    """Make the local record of a sweep what it is in its bucket. No driver may be at it."""
    write_whole(sweep_dir / "journal.jsonl", journal.Segments(storage).read())
    write_whole(sweep_dir / "sweep.json", storage.read("sweep.json"))


def home_option(home: Path) -> str:
    """What a command needs to find this home from where this process runs: "" or " --home HOME"."""
    return "" if Path(home).resolve() == Path("runs").resolve() else f" --home {home}"


def resume_command(sweep_dir: Path) -> str:
    """What goes on with a sweep."""
    return f"fersweep resume {Path(sweep_dir).name}{home_option(Path(sweep_dir).parent.parent)}"


def sweep_storage(sweep_dir: Path, sweep: dict[str, Any]) -> Storage:
    """Where the sweep's checkpoints lie: its directory, or its place in the bucket that the sweep names."""
    bucket = sweep["sweep"].get("storage")
    return Storage(stored_at(bucket, sweep["sweep"]["name"]) if bucket else Path(sweep_dir))


def stored_at(bucket: str, name: str) -> str:
    """Address of the sweep `name` in a bucket; what follows a "?" (endpoint, region) stays at the end."""
    prefix, mark, options = bucket.partition("?")
    return f"{prefix.rstrip('/')}/{name}{mark}{options}"


def load_sweep(sweep_dir: Path) -> tuple[dict[str, Any], SweepRecord]:
    """The contents of `sweep.json` and the replayed journal. Raises InputError if the former cannot be read.

    `home` in it is where the directory lies now, which may have been moved, and a dataset is looked for there too.
    """
    path = Path(sweep_dir) / "sweep.json"
    try:
        sweep = json.loads(path.read_text())
        before, home = Path(sweep["home"]), path.resolve().parents[2]
        data = Path(sweep["dataset"]["path"])
        if not data.exists() and data.is_relative_to(before):
            sweep["dataset"]["path"] = str(home / data.relative_to(before))
        sweep["home"] = str(home)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a sweep's record: {error}") from error
    return sweep, journal.read(Path(sweep_dir) / "journal.jsonl")


def objective(sweep: dict[str, Any]) -> tuple[str, str]:
    """Name and mode (`max` or `min`) of the metric that the sweep ranks its trials by."""
    stop = sweep["sweep"]["stop"]
    return stop["metric"], stop["mode"]


def kept_trials(sweep: dict[str, Any], record: SweepRecord) -> list[TrialRecord]:
    """The ended trials whose best checkpoint is kept, best first: `keep_checkpoints` of the whole sweep."""
    return record.kept(*objective(sweep), sweep["sweep"].get("keep_checkpoints"))


def best_checkpoint(sweep_dir: Path, sweep: dict[str, Any], trial: TrialRecord) -> Path | None:
    """Local directory of a trial's checkpoint at its best epoch, checked; None where it was not kept, or not yet made.

    Raises RuntimeError if it is damaged.
    """
    best = trial.best(*objective(sweep))
    if best is None:
        return None
    with contextlib.suppress(FileNotFoundError):
        storage = sweep_storage(sweep_dir, sweep)
        return checkpoints.fetch(storage, trial.number, int(best["epoch"]), Path(sweep_dir))
    return None


def val_predictions(sweep_dir: Path, sweep: dict[str, Any], trial: TrialRecord) -> tuple[np.ndarray, np.ndarray] | None:
    """y (N,) and probabilities (N, C) float32 on val at the trial's best epoch; None while they are not written."""
    local, storage = Storage(sweep_dir), sweep_storage(sweep_dir, sweep)
    found = checkpoints.read_predictions(local, trial.number)
    if found is None and storage.path is None:
        found = checkpoints.read_predictions(storage, trial.number)
        if found is not None and trial.state != "running":
            best = trial.best(*objective(sweep)) or {"epoch": 0}
            checkpoints.save_predictions(local, trial.number, int(best["epoch"]), *found)
    return found


def choose_trial(
    sweep_dir: Path, sweep: dict[str, Any], record: SweepRecord, number: int | None
) -> tuple[TrialRecord, Path]:
    """The trial asked for, else the best that has a checkpoint, and that checkpoint. Raises InputError if there is none."""
    for trial in record.ranked(*objective(sweep)):
        if number in (None, trial.number) and (found := best_checkpoint(sweep_dir, sweep, trial)):
            return trial, found
    name = sweep["sweep"]["name"]
    if number is None:
        raise InputError(f"no trial of sweep {name!r} has a checkpoint yet")
    if number in record.trials:
        kept = [trial.name for trial in kept_trials(sweep, record)]
        raise InputError(
            f"trial {number} of sweep {name!r} has no checkpoint: those of the best {len(kept)} are kept "
            f"({', '.join(kept)}); keep_checkpoints in the sweep file says how many"
        )
    raise InputError(f"sweep {name!r} has no trial {number}; trials: 0 to {len(record.trials) - 1}")


def sweep_task(sweep: dict[str, Any]) -> Task:
    """The task of a sweep, on its dataset. Raises InputError if the dataset has changed since, or is gone."""
    spec = TaskSpec(**sweep["sweep"]["task"])
    task = Task(Path(sweep["dataset"]["path"]), spec, feature_names=sweep["feature_names"])
    found, learned = task.manifest["fingerprint"], sweep["dataset"]["fingerprint"]
    if found != learned:
        raise InputError(
            f"{task.dataset}: its fingerprint {found[:12]} is not that of the data that the sweep learned, {learned[:12]}: "
            "launch a new sweep on it"
        )
    return task


def faces_of(sweep: dict[str, Any]) -> str:
    """Which faces of val the sweep's scores are of."""
    task = sweep["sweep"]["task"]
    told = "all faces" if task["features"] == "pixels" else "detected faces"
    if task.get("fold") is not None:
        told += f" of fold {task['fold']}"
    return f"{told} of {', '.join(task['sources'])}" if task.get("sources") else told
