"""Which faces of a task a model learned from: from its model.json, its sweep, and what travels with a registered version.

    seen = seen_by(model, home, task, "test")          # None: nobody knows what it learned
    learned_split(model, task, "val")                  # is it a split that the model was trained on?

Models of older versions do not say what they learned: their sweep does, and whether they are a refit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from fersweep.common.errors import InputError
from fersweep.common.stores.buckets import is_address
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.tasks.learned_faces import FILE, LearnedFaces, Seen, task_of
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.models.face_model import FaceModel
from fersweep.results.record.sweep_json import SweepJson, read_sweep_json

REFIT = "refit"  # directory of a sweep's refits


def records_of(model: FaceModel) -> list[dict[str, Any]]:
    """What the model says that it learned from, each as `Task.learned`; those that are damaged are none."""
    given = model.described.get("learned")
    return [each for each in cast(list[Any], given) if _is_record(each)] if isinstance(given, list) else []


def learned_split(model: FaceModel, task: Task, split: str) -> bool:
    """Was the model trained on this split of the task's dataset? The models of all folds together were trained on val."""
    fingerprint = task.manifest["fingerprint"]
    records = [each for each in records_of(model) if each["fingerprint"] == fingerprint]
    of_all_folds = any(cast(dict[str, Any], each.get("task") or {}).get("fold") == "all" for each in records)
    return (split == "val" and of_all_folds) or any(split in each["splits"] for each in records)


def seen_by(model: FaceModel, home: Path, task: Task, split: str) -> Seen | None:
    """Which faces of `split` of `task` the model learned, or may have; None where nobody knows what it learned.

    Faces are compared by their ids. Near twins are looked for in other datasets than the task's own, where the pictures
    are here: under `home`, or where a sweep under it learned them. Raises InputError as `Task` does.
    """
    records = records_of(model)
    if not records:
        return None
    own = [each for each in records if each["fingerprint"] == task.manifest["fingerprint"]]
    others = [each for each in records if each not in own]
    known = [LearnedFaces.of(task_of(each, task.place), each) for each in own if each.get("task") is not None]
    pictures: list[tuple[Task, Mapping[str, Any]]] = []
    absent: list[str] = []
    unlisted: list[str] = []  # of these, no list of faces travels with the model
    packed = _packed(model)
    for record in others:
        if record.get("task") is not None and (place := find_dataset(home, record["fingerprint"])) is not None:
            pictures.append((task_of(record, place), record))
            known.append(LearnedFaces.of(*pictures[-1]))
        else:
            absent.append(str(record.get("name") or record["fingerprint"][:12]))
            is_of_a_teacher = record["fingerprint"] != model.described.get("fingerprint")
            unlisted += absent[-1:] * (packed is None or is_of_a_teacher)
    joined = LearnedFaces.joined([*known, *([packed] if packed else [])])
    if unlisted:
        faces = joined.has(task.everyone(split)[2])
        return Seen(split, faces, int(faces.sum()), None, unknown=", ".join(unlisted))
    if not others:
        faces = joined.has(task.everyone(split)[2])
        return Seen(split, faces, int(faces.sum()), None)
    return joined.seen(task, split, pictures, lacking=", ".join(absent))


def faces_of(model: FaceModel, place: str | Path) -> LearnedFaces:
    """The faces that the model learned of the dataset at `place`, its own: saved as FILE beside the checkpoint's directory, they
    travel with a registered version. Its teacher may have learned others.
    """
    own = model.described.get("fingerprint")
    records = [each for each in records_of(model) if each.get("task") is not None and each["fingerprint"] == own]
    return LearnedFaces.joined([LearnedFaces.of(task_of(each, place), each) for each in records])


def older_record(described: Mapping[str, Any], sweep: SweepJson | None, refit: bool) -> list[dict[str, Any]]:
    """What a model learned that does not say so itself. `sweep`: whose trial it is, or whose refit; None: it is gone."""
    fingerprint = described.get("fingerprint") or (sweep and sweep.dataset.fingerprint)
    if not fingerprint:
        return []
    task = None if sweep is None else sweep.asked.task.model_dump(mode="json")
    name = "" if sweep is None else sweep.dataset.name
    return [
        {"name": name, "fingerprint": fingerprint, "splits": ["train", "val"] if refit else ["train"], "task": task}
    ]


def sweep_of(checkpoint: Path) -> tuple[SweepJson | None, bool]:
    """The sweep in whose directory a checkpoint lies, if any; is it among its refits?"""
    path = Path(checkpoint).resolve()
    for directory in path.parents[:4]:
        if (directory / "sweep.json").is_file():
            with contextlib.suppress(InputError):
                return read_sweep_json(directory), path.relative_to(directory).parts[0] == REFIT
    return None, False


def find_dataset(home: Path, fingerprint: str) -> Path | None:
    """The directory of the dataset with this fingerprint: under the home, or where a sweep of it learned one."""
    for place in _places(Path(home)):
        with contextlib.suppress(InputError, OSError, KeyError):
            if read_manifest(place)["fingerprint"] == fingerprint:
                return place
    return None


def _places(home: Path) -> Sequence[Path]:
    """Directories that may be datasets."""
    places = [path.parent for path in sorted((home / "data").glob("*/manifest.json"))]
    for path in sorted((home / "sweeps").glob("*/sweep.json")):
        with contextlib.suppress(InputError, OSError):
            place = read_sweep_json(path.parent).dataset.path
            places += [Path(place)] * (not is_address(place))
    return list(dict.fromkeys(places))


def _packed(model: FaceModel) -> LearnedFaces | None:
    """The list of faces that travels with a model, if there is one."""
    if model.checkpoint is not None:
        for directory in (model.checkpoint, model.checkpoint.parent):
            if (directory / FILE).is_file():
                return LearnedFaces.read(directory / FILE)
    return None


def _is_record(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    record = cast(dict[str, Any], value)
    splits = record.get("splits")
    is_listed = isinstance(splits, list) and all(split in ("train", "val") for split in cast(list[Any], splits))
    return is_listed and isinstance(record.get("fingerprint"), str) and isinstance(record.get("task"), dict | None)
