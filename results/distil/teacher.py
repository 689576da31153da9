"""The teacher of a sweep (`distil` in a sweep file): found, checked and asked once, before the sweep begins.

    opened = open_teacher("champion", task, home)          # refuses one that does not fit, or knows val or test by heart
    teacher, kept = ask(opened, task, arrays, home)          # for sweep.json, and its answers (answers.py)

It answers the faces of train, for trials to learn, and those of val: there it is judged beside them, and a refit learns them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.mixed_task import task_of_features
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.distil.answers import Answers
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.learned import learned_split, records_of, seen_by
from fersweep.results.models.open_model import open_model
from fersweep.results.models.other_process import answers_elsewhere
from fersweep.results.record.home import find_sweep
from fersweep.results.record.sweep_json import Teacher, read_sweep_json
from fersweep.results.scores.intervals import known
from fersweep.trainables.metrics import SCORES, scores

BLOCK_ROWS = 100_000  # faces that are read and answered at a time


class Opened(NamedTuple):
    """A teacher that fits the task. `faces`: the task of what it sees; `unknown`: which of its past is not known, in words."""

    model: FaceModel
    faces: Task
    unknown: str


def open_teacher(spec: str, task: Task, home: Path) -> Opened:
    """The teacher called `spec`. InputError where there is none, it answers other classes or cannot see the dataset's faces, or it learned
    faces of val or test: a trial would be judged by what it was told of them.
    """
    try:
        model = open_model(spec, home)
        _refuse_other_classes(model, task)
        faces = _faces_of(model, task)
        unknown = _refuse_leak(model, task, home)
    except InputError as error:
        raise InputError(f"distil.from: {error}") from None
    return Opened(model, faces, unknown)


def ask(opened: Opened, task: Task, arrays: TaskArrays, home: Path) -> tuple[Teacher, bytes]:
    """Its answers on the faces of `arrays`, as a file's content, and what `sweep.json` says of it.

    Raises InputError where it sees none of them, and RuntimeError where it cannot be asked.
    """
    model, wanted = opened.model, np.unique(np.concatenate([arrays.train.face_ids, arrays.val.face_ids]))
    answers = Answers.joined(_answered(opened, task.classes, wanted), len(task.classes))
    taught, on_val = answers.of(arrays.train.face_ids), answers.of(arrays.val.face_ids)
    num_taught = int((~np.isnan(taught[:, 0])).sum())
    if not num_taught:
        raise InputError(f"distil.from: {model.name} sees none of the {len(taught)} faces of train")
    origin, content = model.origin, answers.as_bytes()
    figures = scores(_counts(arrays.val.y, on_val))
    teacher = Teacher(
        name=_name(model),
        version=origin.version,
        sweep=origin.sweep,
        trial=origin.trial,
        sweep_id=None if origin.sweep is None else read_sweep_json(find_sweep(home, origin.sweep)).sweep_id,
        fingerprint=model.described.get("fingerprint"),
        sha256=hashlib.sha256(content).hexdigest(),
        num_taught=num_taught,
        scores={f"val_{name}": float(figures[name]) for name in SCORES},
        recall=dict(zip(task.classes, map(known, figures["recall"]), strict=True)),
        learned=records_of(model),
        unknown=opened.unknown,
    )
    return teacher, content


def _name(model: FaceModel) -> str:
    """`champion v3`, `v3`, `cnn:7`, `peer.onnx`."""
    version = model.origin.version
    name = model.name if version is None or not model.name.isdigit() else ""
    return f"{name} v{version}".strip() if version is not None else name


def _refuse_other_classes(model: FaceModel, task: Task) -> None:
    if model.classes is None:
        raise InputError(f"{model.name} does not say what its classes are: want a model that does")
    groups = {name: sorted(labels) for name, labels in task.groups.items()}
    its = {name: sorted(labels) for name, labels in (model.groups or {}).items()}
    if its != groups:
        said = [", ".join(_in_words(name, labels) for name, labels in each.items()) for each in (its, groups)]
        raise InputError(
            f"{model.name} answers {said[0]}, and the task's classes are {said[1]}: want a model of the same ones"
        )


def _in_words(name: str, labels: list[str]) -> str:
    return name if labels == [name] else f"{name} ({' + '.join(labels)})"


def _faces_of(model: FaceModel, task: Task) -> Task:
    """The task of what the model sees of all faces that a trial may learn."""
    spec = task.spec
    takes_copies = spec.features != "pixels" if spec.augmented is None else spec.augmented
    changes = {
        "classes": task.groups,
        "balance": None,
        "fraction": 1.0,
        "blendshapes": "all",
        "augmented": takes_copies,
    }
    try:
        return task_of_features(task.place, spec.model_copy(update=changes), model.described["feature_names"])
    except InputError as error:
        raise InputError(f"{model.name} cannot see these faces: {error}") from None


def _refuse_leak(model: FaceModel, task: Task, home: Path) -> str:
    """What is not known of the faces that it learned, in words; "" where all is."""
    unknown = ""
    for split in ("val", "test"):
        seen = seen_by(model, home, task, split)
        if seen is None:
            return f"which faces {model.name} learned is not known"
        if learned_split(model, task, split) or seen.faces.any():
            num = int(seen.faces.sum()) or len(seen.faces)
            raise InputError(
                f"{model.name} learned {num} of the {len(seen.faces)} faces of {split} of {task.place}, or near twins of them, and "
                "would tell its pupils of them: want a model that learned none"
            )
        if seen.unknown or seen.uncompared:
            unknown = seen.sentence(model.name, "")
    return unknown


def _answered(opened: Opened, classes: list[str], wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """face_ids (n,) and probabilities (n, C), in the task's order of classes, of those faces of `wanted` that it sees."""
    model, faces = opened.model, opened.faces
    columns = [(model.classes or classes).index(name) for name in classes]
    for split in ("train", "val"):
        is_wanted = np.isin(faces.everyone(split)[2], wanted)
        rows = np.flatnonzero(is_wanted)
        for start in range(0, len(rows), BLOCK_ROWS):
            others = np.ones(len(is_wanted), bool)
            others[rows[start : start + BLOCK_ROWS]] = False
            block = faces.without(split, others).load(split)
            if len(block.y):
                yield block.face_ids, _probabilities(model, model.fitted(block.x))[:, columns]


def _probabilities(model: FaceModel, x: np.ndarray) -> np.ndarray:
    """In a process of its own where the model needs a framework, which would hold the driver's memory, and a GPU's."""
    if model.checkpoint is None or trainables.frameworks_of([model.described]) <= {"numpy"}:
        return model.predict(x)
    return answers_elsewhere(model.checkpoint, x)[0]


def _counts(y: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(C, C + 1) counts; a face without an answer (a row of NaN) is in the last column."""
    num = probabilities.shape[1]
    predicted = np.nan_to_num(probabilities).argmax(axis=1)
    predicted[np.isnan(probabilities[:, 0])] = num
    return np.bincount(y.astype(np.int64) * (num + 1) + predicted, minlength=num * (num + 1)).reshape(num, num + 1)
