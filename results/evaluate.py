"""Judge a model on one split of a task, over the faces that MediaPipe found and over all of them.

    figures = evaluate(trainables.restore(checkpoint), task, "val")

Over all faces, one that was not detected got no answer of a model of blendshapes and counts as wrong; a model of pixels
answers every face, so that both are the same. Every score stands beside the baseline that always guesses the most
frequent class of train, and carries a 95 % bootstrap interval (scoring.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import trainables
from data_pipeline.errors import InputError
from data_pipeline.schema import SPLITS
from data_pipeline.sources import fit
from data_pipeline.task import Task
from results import scoring
from results.sweeps import choose_trial, load_sweep, sweep_task
from results.tables import table

if TYPE_CHECKING:
    from rich.console import RenderableType


FACES = {
    "blendshapes": "detected: those that MediaPipe found; all: the others too, each counted as wrong",
    "pixels": "every face got an answer, found by MediaPipe or not: detected and all are the same",
}
TREES_SIDE = 12  # px


class Predictor(Protocol):
    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, …) inputs as the task gives them → (N, num_classes) probabilities."""
        ...


def evaluate(model: Predictor, task: Task, split: str, tta: bool = False) -> dict[str, Any]:
    """Scores of `model` on `split` of `task`, JSON-able.

    Returns:
        `split`, `fingerprint`, `protocol`, `classes`, `faces` (what the next two are of), and scoring.figures under
        `detected` and `all`; with `tta` also under `tta`: of answers averaged over each face and its mirror image.
        Raises InputError if the split has no faces of the task, or the model knows no test-time augmentation.
    """
    predict_tta = getattr(model, "predict_tta", None)
    if tta and predict_tta is None:
        raise InputError(
            "--tta: this model has no test-time augmentation; nets of pixels have it "
            "(pixel_mlp, cnn, transfer with head: dense)"
        )
    found = task.load(split)
    if not len(found.y):
        raise InputError(f"{task.dataset}: split {split!r} has no faces of {', '.join(task.classes)}")
    undetected = task.undetected(split) if task.spec.features == "blendshapes" else np.empty(0, np.int32)
    majority = int(np.bincount(task.load("train").y).argmax())

    def judge(probabilities: np.ndarray, unanswered: np.ndarray | None = None) -> dict[str, Any]:
        counts = scoring.count(found.y, probabilities.argmax(axis=1), len(task.classes), unanswered)
        return scoring.figures(counts, task.classes, majority)

    probabilities = np.asarray(model.predict(found.x))
    figures = {
        "split": split,
        "fingerprint": task.manifest["fingerprint"],
        "protocol": scoring.PROTOCOL,
        "classes": task.classes,
        "faces": FACES[task.spec.features],
        "detected": judge(probabilities),
        "all": judge(probabilities, undetected),
    }
    return {**figures, "tta": judge(predict_tta(found.x))} if tta and predict_tta else figures


def evaluate_trial(
    sweep_dir: Path, trial: int | None, split: str, tta: bool = False, explain: Path | None = None
) -> dict[str, Any]:
    """`evaluate` of a trial's best checkpoint (None: the best trial's) on the sweep's own dataset.

    explain: a directory (made if need be) for pictures of what the model looks at in faces of val, see pictures.py;
    their paths are `pictures`. Raises InputError if the model has no feature maps to look at.
    """
    sweep, record = load_sweep(sweep_dir)
    if split not in SPLITS:
        raise InputError(f"--split {split}: want one of {', '.join(SPLITS)}")
    task = sweep_task(sweep)
    chosen, checkpoint = choose_trial(sweep_dir, sweep, record, trial)
    model = trainables.restore(checkpoint)
    found: dict[str, Any] = {"sweep": sweep["sweep"]["name"], "trial": chosen.number}
    if explain is not None:
        from results.pictures import draw_explanations

        found["pictures"] = [str(path) for path in draw_explanations(model, task, explain)]
        if not found["pictures"]:
            raise InputError(
                f"--explain: a {sweep['sweep']['trainable']} has no feature maps to look at; nets with convolutions "
                "have them (cnn, transfer with head: dense)"
            )
    return {**found, **evaluate(model, task, split, tta)}


def tree_baseline_of(sweep_dir: Path) -> dict[str, Any]:
    """`tree_baseline` of a sweep's task, kept in the sweep's directory."""
    return tree_baseline(sweep_task(load_sweep(sweep_dir)[0]), sweep_dir / "trees.json")


def tree_baseline(task: Task, cache: Path | None = None) -> dict[str, Any]:
    """`evaluate` on val of gradient-boosted trees (scikit-learn's defaults) trained on the task's train faces.

    What a search of neural nets has to beat. Takes seconds; kept in the file `cache`, and read from there as long as
    its fingerprint, classes and features are the task's. Of pixels the trees see faces shrunk to TREES_SIDE: FER2013
    takes 16 s of CPU so, for an accuracy of 0.427; at 24 × 24 pixels 85 s for 0.440, and at its 48 × 48 longer still.
    """
    key = {"fingerprint": task.manifest["fingerprint"], "classes": task.classes, "features": task.feature_names}
    key["task"] = task.spec.model_dump(mode="json")
    if task.spec.features == "pixels":
        key["side"] = TREES_SIDE
    if cache is not None and cache.exists():
        kept = json.loads(cache.read_text())
        if kept["key"] == key:
            return kept["figures"]
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    train = task.load("train")
    weight = None if (train.weight == 1).all() else train.weight  # to bin weighted faces takes 10 s more
    with threadpool_limits(1):  # OpenMP's threads spin when they share cores with a sweep: 44 s instead of 0.3 s
        trees = HistGradientBoostingClassifier(random_state=0)
        trees.fit(_rows(train.x), train.y, sample_weight=weight)
        figures = evaluate(_Trees(trees), task, "val")
    if task.spec.features == "pixels":
        side = f"{TREES_SIDE}×{TREES_SIDE}"
        figures["name"] = f"trees, {side} px"
        figures["protocol"] += f"; boosted trees that see faces shrunk to {side} pixels by averaging areas"
    if cache is not None:
        cache.write_text(json.dumps({"key": key, "figures": figures}, indent=1))
    return figures


class _Trees:
    def __init__(self, trees: Any):
        self.trees = trees

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.trees.predict_proba(_rows(x))


def _rows(x: np.ndarray) -> np.ndarray:
    """What trees see of (N, F) blendshapes or of (N, H, W) uint8 faces: a row each."""
    if x.ndim == 2:
        return x
    return np.stack([fit(face, (TREES_SIDE, TREES_SIDE)).reshape(-1) for face in x])


def render(figures: dict[str, Any], title: str = "") -> RenderableType:
    """The figures of `evaluate` as tables for the terminal."""
    from rich.console import Group
    from rich.text import Text

    sets = scoring.judged(figures)
    (main, ranked), *others = sets.items()
    title = title or f"{figures['split']}: scores [95 % interval]"
    scores = table(["", *(scoring.JUDGED[key] for key in sets), "majority"], 1, title)
    scores.add_row("faces", *[str(one["num_faces"]) for one in sets.values()], "")
    for name in scoring.SCORES:
        cells = [scoring.interval(one[name]) for one in sets.values()]
        scores.add_row(name.replace("_", " "), *cells, f"{ranked['baseline'][name]:.3f}")
    columns = ["class", "precision", "recall", "f1", "faces", *(f"recall, {key}" for key, _ in others)]
    classes = table(columns, 1, f"by class, {scoring.JUDGED[main]}")
    for name in figures["classes"]:
        one = ranked["per_class"][name]
        recall = {"value": one["recall"], "low": one["recall_low"], "high": one["recall_high"]}
        cells = [f"{one['precision']:.3f}", scoring.interval(recall), f"{one['f1']:.3f}", str(one["support"])]
        classes.add_row(name, *cells, *[f"{other['per_class'][name]['recall']:.3f}" for _, other in others])
    notes = [figures.get("faces", ""), *(f"drawn: {path}" for path in figures.get("pictures", ()))]
    return Group(scores, classes, *(Text(note, style="dim") for note in notes))
