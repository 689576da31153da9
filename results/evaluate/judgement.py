"""Judge a model on one split of a dataset, over the faces that MediaPipe found and over all of them.

    figures = evaluate(fersweep.trainables.restore(checkpoint), task, "val")         # on the task that it learned
    judgement = judge_model(open_model("peer.onnx", home), home, data)      # any model on any dataset

Over all faces, one that was not detected got no answer of a model of blendshapes and counts as wrong; a model of pixels
answers every face, so that both are the same. Every score stands beside the baseline that always guesses the most
frequent class of train, and carries a 95 % bootstrap interval (scoring.py).

Trained on one dataset, judged on another: faces are judged whose label the model has a class for. Classes that it has
and the dataset has not stay among its answers, as in use, and are then wrong; beside that stand the figures of its
answers limited to the shared classes. Task, split and model say which faces: shapes are data_pipeline/tasks/task.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.tasks.task import Task
from fersweep.data_pipeline.vocabulary import SPLITS
from fersweep.results.models.face_model import FaceModel
from fersweep.results.record.home import find_sweep
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.results.scores import intervals

DETECTED = "detected: those that MediaPipe found; all: the others too, each counted as wrong"
EVERY = "every face got an answer, found by MediaPipe or not: detected and all are the same"


class Predictor(Protocol):
    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, …) inputs as the task gives them → (N, num_classes) probabilities."""
        ...


@dataclass(frozen=True)
class Judgement:
    """A model's answers to the faces of `task.load(split)`: probabilities (N, C) of the task's classes, and figures."""

    task: Task
    split: str
    y: np.ndarray
    probabilities: np.ndarray
    figures: dict[str, Any]


def evaluate(model: Predictor, task: Task, split: str, tta: bool = False) -> dict[str, Any]:
    """Scores of `model` on `split` of `task`, the classes of which it answers in order. JSON-able.

    Returns:
        `split`, `fingerprint`, `protocol`, `classes`, `faces` (what the next two are of), scoring.figures under
        `detected` and `all`, and under `detected` also `auc` and `calibration`; with `tta` also under `tta`: of answers
        averaged over each face and its mirror image. Raises InputError if the split has no faces of the task, or the
        model knows no test-time augmentation.
    """
    return judge(model, task, split, tta).figures


def judge(model: Predictor, task: Task, split: str, tta: bool = False, answers: list[str] | None = None) -> Judgement:
    """`evaluate`, with the answers. `answers`: the model's classes, where they are others than the task's or more."""
    predict_tta = getattr(model, "predict_tta", None)
    if tta and predict_tta is None:
        raise InputError(
            "--tta: this model has no test-time augmentation; nets of pixels have it "
            "(pixel_mlp, cnn, transfer with head: dense)"
        )
    found = task.load(split)
    if not len(found.y):
        raise InputError(f"{task.dataset}: split {split!r} has no faces of {', '.join(task.classes)}")
    sees_pixels = task.spec.features == "pixels"
    undetected = np.empty(0, np.int32) if sees_pixels else task.undetected(split)
    learned = task.load("train").y
    majority = int(np.bincount(learned if len(learned) else found.y).argmax())
    num_classes, answers = len(task.classes), answers or task.classes
    columns = [answers.index(name) for name in task.classes]
    place = np.full(len(answers), num_classes)
    place[columns] = np.arange(num_classes)  # of each answer among the task's classes

    def count(predicted: np.ndarray, unanswered: np.ndarray) -> dict[str, Any]:
        """Of predicted (N,) class indices, num_classes standing for a class that the task has not."""
        other = predicted == num_classes
        counts = intervals.count(
            found.y[~other], predicted[~other], num_classes, np.concatenate([unanswered, found.y[other]])
        )
        return intervals.figures(counts, task.classes, majority)

    nothing = np.empty(0, np.int32)
    given = np.asarray(model.predict(found.x))
    if given.shape[1] != len(answers):
        raise InputError(f"the model answers {given.shape[1]} classes, not the {len(answers)} of {', '.join(answers)}")
    probabilities = given[:, columns]
    if len(columns) < len(answers):
        probabilities = probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)
    area = intervals.auc(found.y, probabilities)
    more = {
        "auc": None if np.isnan(area) else area,
        "calibration": intervals.calibration(found.y, probabilities),
    }
    predicted = place[given.argmax(axis=1)]
    figures = {
        "split": split,
        "fingerprint": task.manifest["fingerprint"],
        "protocol": intervals.PROTOCOL,
        "classes": task.classes,
        "faces": EVERY if sees_pixels else DETECTED,
        "detected": count(predicted, nothing) | more,
        "all": count(predicted, undetected) | (more if not len(undetected) else {}),
    }
    if len(columns) < len(answers):
        figures["shared"] = count(probabilities.argmax(axis=1), nothing)
    if tta and predict_tta:
        figures["tta"] = count(place[predict_tta(found.x).argmax(axis=1)], nothing)
    return Judgement(task, split, found.y, probabilities, figures)


def judge_model(
    model: FaceModel,
    home: Path,
    data: Path | None = None,
    split: str | None = None,
    tta: bool = False,
    classes: list[str] | None = None,
    explain: Path | None = None,
) -> Judgement:
    """Judge any model on `data`; None: the dataset of the sweep that it comes from.

    Args:
        split: None is val of the sweep's own dataset, test of another.
        classes: names of the model's answers, for one that does not know them itself.
        explain: a directory (made if need be) for pictures of what the model looks at in faces of val, see pictures.py;
            their paths are `pictures`.

    Returns:
        as `judge`; its figures have also `model`, `origin`, `data`, `notes` (what is to be known of the comparison) and
        `mistakes`: {face_id, source, true, predicted, probability}, the most confident first. Raises InputError where
        model and dataset have no class in common, or the model has no feature maps to look at.
    """
    split = split or ("val" if data is None else "test")
    if split not in SPLITS:
        raise InputError(f"--split {split}: want one of {', '.join(SPLITS)}")
    notes: list[str] = []
    if data is None:
        task, answers = _own_task(model, home), model.classes
    else:
        task, answers = _task_of(model, data, split, classes, notes)
    judged = judge(_Fitted(model), task, split, tta, answers)
    figures = {
        "model": model.name,
        **model.origin,
        "origin": model.origin,
        "data": str(task.dataset),
        **judged.figures,
        "notes": notes,
        "mistakes": mistakes(judged),
    }
    if explain is not None:
        figures["pictures"] = _explained(model, task, explain)
    return Judgement(judged.task, judged.split, judged.y, judged.probabilities, figures)


def mistakes(judged: Judgement) -> list[dict[str, Any]]:
    """The misclassified faces, the most confident first: {face_id, source, true, predicted, probability}."""
    task, predicted = judged.task, judged.probabilities.argmax(axis=1)
    certainty = judged.probabilities.max(axis=1)
    rows = np.flatnonzero(predicted != judged.y)
    rows = rows[np.argsort(-certainty[rows], kind="stable")]
    ids, sources = task.names(judged.split, rows)
    return [
        {
            "face_id": ids[i],
            "source": sources[i],
            "true": task.classes[judged.y[row]],
            "predicted": task.classes[predicted[row]],
            "probability": float(certainty[row]),
        }
        for i, row in enumerate(rows)
    ]


def _own_task(model: FaceModel, home: Path) -> Task:
    """The task that the model learned, on its dataset."""
    name = model.origin.get("sweep")
    if name is None:
        raise InputError(f"{model.name}: say on which faces it is to be judged: --data DATASET")
    return read_sweep_json(find_sweep(home, name)).task()


def _task_of(
    model: FaceModel, data: Path, split: str, classes: list[str] | None, notes: list[str]
) -> tuple[Task, list[str]]:
    """The task of those classes that model and dataset share, and the model's answers. What is left out goes to `notes`."""
    manifest = read_manifest(data)
    counts = manifest["counts"].get(split, {})
    labels = [label for label in manifest["classes"] if counts.get(label)]
    answers = model.classes or classes or manifest["classes"]
    groups = model.groups or {name: [name] for name in answers}
    shared = {name: [one for one in groups[name] if one in labels] for name in answers if name in groups}
    shared = {name: members for name, members in shared.items() if members}
    if not shared:
        raise InputError(
            f"{model.name} answers {', '.join(answers)}, and {split} of {data} has {', '.join(labels) or 'no faces'}: "
            "no class in common"
        )
    if len(shared) < len(answers):
        notes.append(f"{split} has no faces of {', '.join(name for name in answers if name not in shared)}")
    used = [label for members in shared.values() for label in members]
    if unused := [label for label in labels if label not in used]:
        number = sum(counts[label] for label in unused)
        notes.append(f"not judged: {number} faces of {', '.join(unused)}, for which the model has no class")
    if model.features != "pixels":
        notes += _seen_otherwise(model.described.get("preprocessing", {}), manifest.get("landmarks"))
    if model.described.get("fingerprint") not in (None, manifest["fingerprint"]):
        notes.append("another dataset than the one that the model learned from")
    return model.task(data, shared), list(answers)


def _seen_otherwise(learned: dict[str, Any], there: dict[str, Any] | None) -> list[str]:
    """How the dataset's faces were shown to MediaPipe otherwise than those that the model learned from."""
    if "border" not in learned:
        return []
    if not there:
        return ["the dataset's blendshapes are ready-made: how MediaPipe was shown the faces is not known"]
    views = {"views": 1}  # of a model or a dataset that was made before there were several
    return [
        f"MediaPipe was shown the faces with {key} {mine:g}, the model learned from {other:g}"
        for key in ("border", "size", "views")
        if (mine := (views | there)[key]) != (other := (views | learned)[key])
    ]


class _Fitted:
    """A model that is shown faces in the size that it learned."""

    def __init__(self, model: FaceModel):
        self._model = model
        if (predict_tta := getattr(model.loaded, "predict_tta", None)) is not None:
            self.predict_tta = lambda x: predict_tta(model.fitted(x))

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._model.predict(self._model.fitted(x))


def _explained(model: FaceModel, task: Task, directory: Path) -> list[str]:
    from fersweep.results.evaluate.explanations import draw_explanations

    drawn = [str(path) for path in draw_explanations(model.loaded, task, directory)]
    if not drawn:
        raise InputError(
            f"--explain: a {model.described.get('trainable', 'model of that kind')} has no feature maps to look at; nets "
            "with convolutions have them (cnn, transfer with head: dense)"
        )
    return drawn
