"""Find and read what a sweep left on disk: `sweep.json` (what was asked) and the journal (what happened).

Imports neither MLflow nor a framework, so that looking at a sweep is instant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record import journal
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.storage import Storage


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
