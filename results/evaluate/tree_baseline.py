"""Gradient-boosted trees, scikit-learn's defaults: the baseline that a search of neural nets has to beat."""

# scikit-learn has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.common.files import write_whole
from fersweep.data_pipeline.faces.crop import fit
from fersweep.data_pipeline.tasks.arrays import Arrays
from fersweep.data_pipeline.tasks.clusters import clusters
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate.judgement import evaluate
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.results.scores.figures import Figures, read_kept
from fersweep.results.scores.intervals import score_folds

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier


TREES_SIDE = 12  # px


def tree_baseline_of(sweep_dir: Path) -> Figures:
    """`tree_baseline` of a sweep's task, kept in the sweep's directory."""
    return tree_baseline(read_sweep_json(sweep_dir).task(), sweep_dir / "trees.json")


def tree_baseline(task: Task, cache: Path | None = None) -> Figures:
    """`evaluate` on val of gradient-boosted trees (scikit-learn's defaults) trained on the task's train faces.

    What a search of neural nets has to beat. Takes seconds; kept in the file `cache`, and read from there as long as
    its fingerprint, classes and features are the task's. Of pixels the trees see faces shrunk to TREES_SIDE: FER2013
    takes 16 s of CPU so, for an accuracy of 0.427; at 24 × 24 pixels 85 s for 0.440, and at its 48 × 48 longer still.
    """
    key: dict[str, Any] = {
        "fingerprint": task.manifest["fingerprint"],
        "classes": task.classes,
        "features": task.feature_names,
    }
    key["scores"] = "of classes with faces"  # what older versions kept has another macro-F1
    key["task"] = task.spec.model_dump(mode="json")
    if task.spec.features == "pixels":
        key["side"] = TREES_SIDE
    if cache is not None and (kept := read_kept(cache)) is not None and kept[0] == key:
        return kept[1]
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    def trained(train: Arrays) -> _Trees:
        weight = None if (train.weight == 1).all() else train.weight  # to bin weighted faces takes 10 s more
        trees = HistGradientBoostingClassifier(random_state=0)
        trees.fit(_rows(train.x), train.y, sample_weight=weight)
        return _Trees(trees, len(task.classes))

    with threadpool_limits(1):  # OpenMP's threads spin when they share cores with a sweep: 44 s instead of 0.3 s
        figures = _over_folds(task, trained) if task.num_folds else evaluate(trained(task.load("train")), task, "val")
    if task.spec.features == "pixels":
        side = f"{TREES_SIDE}×{TREES_SIDE}"
        protocol = f"{figures.protocol}; boosted trees that see faces shrunk to {side} pixels by averaging areas"
        figures = figures.model_copy(update={"name": f"trees, {side} px", "protocol": protocol})
    if cache is not None:
        write_whole(cache, json.dumps({"key": key, "figures": figures.as_json()}, indent=1).encode())
    return figures


def _over_folds(task: Task, trained: Callable[[Arrays], _Trees]) -> Figures:
    """As trials of `task.fold: all` are judged: trees for each fold, and the means over folds. The other figures are of all
    faces, each answered by the trees that did not learn it.
    """
    arrays = task.arrays()
    answers, fold_of = np.zeros((len(arrays.val.y), len(task.classes))), np.zeros(len(arrays.val.y), np.int64)
    for number, fold in enumerate(arrays.folds):
        of_fold = arrays.of_fold(number)
        answers[fold.val], fold_of[fold.val] = trained(of_fold.train).predict(of_fold.val.x), number
    together = clusters(task, "val")
    groups, predicted = together.number[together.loaded], answers.argmax(axis=1)
    means = score_folds(arrays.val.y, predicted, len(task.classes), fold_of, groups)
    figures = evaluate(_Answers(answers), task, "val")
    return figures.model_copy(update={"detected": figures.detected.model_copy(update=means)})


class _Answers:
    """A model that has answered already: probabilities (N, C) of the faces of val."""

    def __init__(self, answers: np.ndarray):
        self.answers = answers

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.answers


class _Trees:
    def __init__(self, trees: HistGradientBoostingClassifier, num_classes: int):
        self.trees, self.num_classes = trees, num_classes

    def predict(self, x: np.ndarray) -> np.ndarray:
        """A class without train faces has probability 0: the trees do not know of it."""
        probabilities = np.zeros((len(x), self.num_classes))
        learned = np.asarray(self.trees.classes_)
        probabilities[:, learned] = self.trees.predict_proba(_rows(x))
        return probabilities


def _rows(x: np.ndarray) -> np.ndarray:
    """What trees see of (N, F) features or of (N, H, W) uint8 faces: a row each."""
    if x.ndim == 2:
        return x
    return np.stack([fit(face, (TREES_SIDE, TREES_SIDE)).reshape(-1) for face in x])
