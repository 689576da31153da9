"""Judge a model on one split of a task, over the faces that MediaPipe found and over all of them.

    figures = evaluate(fersweep.trainables.restore(checkpoint), task, "val")

Over all faces, one that was not detected got no answer of a model of blendshapes and counts as wrong; a model of pixels
answers every face, so that both are the same. Every score has a 95 % bootstrap interval (results/scores/intervals.py)
of persons, where the dataset knows them, with twins as one; and beside it is the baseline that always guesses the most frequent class of train. Shapes are
data_pipeline/tasks/task.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.clusters import clusters
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.scores import intervals
from fersweep.results.scores.figures import Figures
from fersweep.results.scores.intervals import FaceScores

DETECTED = "detected: those that MediaPipe found; all: the others too, each counted as wrong"
EVERY = "every face got an answer, found by MediaPipe or not: detected and all are the same"


class Predictor(Protocol):
    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, …) inputs as the task gives them → (N, num_classes) probabilities."""
        ...


@dataclass(frozen=True)
class Judgement:
    """A model's answers to the faces of `task.load(split)`: y (N,) and probabilities (N, C) of the task's classes."""

    task: Task
    split: str
    y: np.ndarray
    probabilities: np.ndarray
    figures: Figures


def evaluate(model: Predictor, task: Task, split: str, tta: bool = False) -> Figures:
    """Scores of `model` on `split` of `task`, the classes of which it answers in order.

    `detected` also has `auc` and `calibration`; with `tta` there are also scores of answers averaged over each face and
    its mirror image. Raises InputError if the split has no faces of the task, or the model knows no test-time
    augmentation.
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
    faces = task.load(split)
    if not len(faces.y):
        raise InputError(f"{task.place}: split {split!r} has no faces of {', '.join(task.classes)}")
    sees_pixels = task.spec.features == "pixels"
    undetected = np.empty(0, np.int32) if sees_pixels else task.undetected(split)
    y_train = task.load("train").y
    majority = int(np.bincount(y_train if len(y_train) else faces.y).argmax())
    num_classes, answers = len(task.classes), answers or task.classes
    columns = [answers.index(name) for name in task.classes]
    place = np.full(len(answers), num_classes)
    place[columns] = np.arange(num_classes)  # of each answer among the task's classes

    together = clusters(task, split)
    of_loaded, of_others = together.number[together.loaded], together.number[~together.loaded]

    def score(predicted: np.ndarray, unanswered: np.ndarray | None = None) -> FaceScores:
        """Of predicted (N,) class indices; num_classes is a class that the task does not have."""
        y, groups = faces.y, of_loaded
        if unanswered is not None:
            y, groups = np.concatenate([y, unanswered]), np.concatenate([groups, of_others])
            predicted = np.concatenate([predicted, np.full(len(unanswered), num_classes)])
        other = predicted == num_classes
        counts = intervals.count(y[~other], predicted[~other], num_classes, y[other])
        by_cluster = intervals.count_clusters(y, predicted, num_classes, groups)
        return intervals.score_faces(counts, task.classes, majority, by_cluster)

    answered = np.asarray(model.predict(faces.x))
    if answered.shape[1] != len(answers):
        raise InputError(
            f"the model answers {answered.shape[1]} classes, not the {len(answers)} of {', '.join(answers)}"
        )
    probabilities = answered[:, columns]
    if len(columns) < len(answers):
        probabilities = probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)
    predicted = place[answered.argmax(axis=1)]
    detected = _with_calibration(score(predicted), faces.y, probabilities)
    others: dict[str, FaceScores] = {}
    if len(columns) < len(answers):
        others["shared"] = score(probabilities.argmax(axis=1))
    if tta and predict_tta:
        others["tta"] = score(place[predict_tta(faces.x).argmax(axis=1)])
    figures = Figures(
        split=split,
        fingerprint=task.manifest["fingerprint"],
        protocol=intervals.protocol(together.words, together.num),
        classes=task.classes,
        faces=EVERY if sees_pixels else DETECTED,
        detected=detected,
        all=score(predicted, undetected) if len(undetected) else detected,
    )
    return Judgement(task, split, faces.y, probabilities, figures.model_copy(update=others))


def _with_calibration(scores: FaceScores, y: np.ndarray, probabilities: np.ndarray) -> FaceScores:
    area = intervals.auc(y, probabilities)
    calibration = intervals.calibration(y, probabilities)
    return scores.model_copy(update={"auc": None if np.isnan(area) else area, "calibration": calibration})
