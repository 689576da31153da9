"""Judge a model on one split of a task, over the faces that MediaPipe found and over all of them.

    figures = evaluate(trainables.restore(checkpoint), task, "val")

Over all faces, one that was not detected got no answer and counts as wrong. Every score stands beside the baseline that
always guesses the most frequent class of train, and carries a 95 % bootstrap interval (scoring.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import trainables
from data_pipeline.errors import InputError
from data_pipeline.schema import SPLITS
from data_pipeline.task import Task
from results import scoring
from results.sweeps import choose_trial, load_sweep, sweep_task
from results.tables import table

if TYPE_CHECKING:
    from rich.console import RenderableType


class Predictor(Protocol):
    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, …) inputs as the task gives them → (N, num_classes) probabilities."""
        ...


def evaluate(model: Predictor, task: Task, split: str) -> dict[str, Any]:
    """Scores of `model` on `split` of `task`, JSON-able.

    Returns:
        `split`, `fingerprint`, `protocol`, `classes`, and scoring.figures under `detected` and `all`.
        Raises InputError if the split has no faces of the task.
    """
    found = task.load(split)
    if not len(found.y):
        raise InputError(f"{task.dataset}: split {split!r} has no faces of {', '.join(task.classes)}")
    undetected = task.undetected(split) if task.spec.features == "blendshapes" else np.empty(0, np.int32)
    majority = int(np.bincount(task.load("train").y).argmax())
    predicted = np.asarray(model.predict(found.x)).argmax(axis=1)
    num_classes = len(task.classes)
    detected = scoring.count(found.y, predicted, num_classes)
    everything = scoring.count(found.y, predicted, num_classes, undetected)
    return {
        "split": split,
        "fingerprint": task.manifest["fingerprint"],
        "protocol": scoring.PROTOCOL,
        "classes": task.classes,
        "detected": scoring.figures(detected, task.classes, majority),
        "all": scoring.figures(everything, task.classes, majority),
    }


def evaluate_trial(sweep_dir: Path, trial: int | None, split: str) -> dict[str, Any]:
    """`evaluate` of a trial's best checkpoint (None: the best trial's) on the sweep's own dataset."""
    sweep, record = load_sweep(sweep_dir)
    if split not in SPLITS:
        raise InputError(f"--split {split}: want one of {', '.join(SPLITS)}")
    task = sweep_task(sweep)
    chosen, checkpoint = choose_trial(sweep_dir, sweep, record, trial)
    model = trainables.restore(checkpoint)
    return {"sweep": sweep["sweep"]["name"], "trial": chosen.number, **evaluate(model, task, split)}


def tree_baseline_of(sweep_dir: Path) -> dict[str, Any]:
    """`tree_baseline` of a sweep's task, kept in the sweep's directory."""
    return tree_baseline(sweep_task(load_sweep(sweep_dir)[0]), sweep_dir / "trees.json")


def tree_baseline(task: Task, cache: Path | None = None) -> dict[str, Any]:
    """`evaluate` on val of gradient-boosted trees (scikit-learn's defaults) trained on the task's train faces.

    What a search of neural nets has to beat. Takes seconds; kept in the file `cache`, and read from there as long as
    its fingerprint, classes and features are the task's.
    """
    key = {"fingerprint": task.manifest["fingerprint"], "classes": task.classes, "features": task.feature_names}
    key["task"] = task.spec.model_dump(mode="json")
    if cache is not None and cache.exists():
        kept = json.loads(cache.read_text())
        if kept["key"] == key:
            return kept["figures"]
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    train = task.load("train")
    x = train.x.reshape(len(train.x), -1)
    with threadpool_limits(1):  # OpenMP's threads spin when they share cores with a sweep: 44 s instead of 0.3 s
        trees = HistGradientBoostingClassifier(random_state=0).fit(x, train.y, sample_weight=train.weight)
        figures = evaluate(_Trees(trees), task, "val")
    if cache is not None:
        cache.write_text(json.dumps({"key": key, "figures": figures}, indent=1))
    return figures


class _Trees:
    def __init__(self, trees: Any):
        self.trees = trees

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.trees.predict_proba(x.reshape(len(x), -1))


def render(figures: dict[str, Any], title: str = "") -> RenderableType:
    """The figures of `evaluate` as tables for the terminal."""
    from rich.console import Group

    title = title or f"{figures['split']}: scores [95 % interval]"
    scores = table(["", "detected faces", "all faces", "majority"], 1, title)
    sets = [figures["detected"], figures["all"]]
    scores.add_row("faces", *[str(one["num_faces"]) for one in sets], "")
    for name in scoring.SCORES:
        cells = [scoring.interval(one[name]) for one in sets]
        scores.add_row(name.replace("_", " "), *cells, f"{sets[0]['baseline'][name]:.3f}")
    columns = ["class", "precision", "recall", "f1", "faces", "recall, all"]
    classes = table(columns, 1, "by class, detected faces")
    for name in figures["classes"]:
        one, everything = sets[0]["per_class"][name], sets[1]["per_class"][name]
        recall = {"value": one["recall"], "low": one["recall_low"], "high": one["recall_high"]}
        cells = [f"{one['precision']:.3f}", scoring.interval(recall), f"{one['f1']:.3f}", str(one["support"])]
        classes.add_row(name, *cells, f"{everything['recall']:.3f}")
    return Group(scores, classes)
