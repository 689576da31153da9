"""Judge any model on any dataset.

    judgement = judge_model(open_model("peer.onnx", home), home, data)

Trained on one dataset, judged on another: faces are judged whose label the model has a class for. Classes that it has
and the dataset has not stay among its answers, as in use, and are then wrong; `shared` has the scores of its answers
limited to the shared classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.integrity import check_parts
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.dataset.staged import local
from fersweep.data_pipeline.tasks.features import vector_names
from fersweep.data_pipeline.tasks.mixed_task import task_of_features
from fersweep.data_pipeline.tasks.task import Task
from fersweep.data_pipeline.vocabulary import SPLITS
from fersweep.results.evaluate.judgement import Judgement, judge
from fersweep.results.evaluate.ledger import Line, answered, ask, open_ledger
from fersweep.results.models.face_model import FaceModel, Origin
from fersweep.results.models.learned import learned_split, seen_by
from fersweep.results.record.home import find_sweep
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.results.scores.figures import Learned

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class Mistake:
    """A misclassified face. source: where it came from; probability: of the class that was predicted."""

    face_id: str
    source: str
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class ModelJudgement(Judgement):
    """The judgement of a model that was called by its name.

    Attributes:
        notes: what to know of the comparison.
        mistakes: the most confident first.
        pictures: paths of those that explain it, if they were asked for.
    """

    model: str
    origin: Origin
    notes: list[str]
    mistakes: list[Mistake]
    pictures: list[str] | None = None

    def as_json(self) -> dict[str, Any]:
        """The origin and the figures are on the same level as the rest."""
        origin = self.origin.as_json()
        return {
            "model": self.model,
            **origin,
            "origin": origin,
            "data": str(self.task.place),
            **self.figures.as_json(),
            "notes": self.notes,
            "mistakes": [asdict(mistake) for mistake in self.mistakes],
            **({} if self.pictures is None else {"pictures": self.pictures}),
        }


def judge_model(
    model: FaceModel,
    home: Path,
    data: str | Path | None = None,
    split: str | None = None,
    tta: bool = False,
    classes: list[str] | None = None,
    explain: Path | None = None,
    allow_seen: bool = False,
) -> ModelJudgement:
    """Judge any model on `data`; None: the dataset of the sweep that it comes from.

    Args:
        split: None is val of the sweep's own dataset, test of another.
        classes: names of the model's answers, for one that does not know them itself.
        explain: a directory (made if need be) for pictures of what the model looks at in faces of val, see
            explanations.py; their paths are `pictures`.
        allow_seen: judge it also on faces that it learned. Else a split that it was trained on is refused, and of other
            faces those that it learned, or near twins of which it did, are left out; `figures.seen` says how many.

    Raises InputError where model and dataset have no class in common, the model has no feature maps to look at, it learned
    these faces, or a part of the dataset is not the one that its manifest names.
    """
    split = split or ("val" if data is None else "test")
    if split not in SPLITS:
        raise InputError(f"--split {split}: want one of {', '.join(SPLITS)}")
    if model.classes and classes:
        raise InputError(
            f"--classes is for models that do not name their classes; this one says {', '.join(model.classes)}"
        )
    notes: list[str] = []
    if data is None:
        task, answers = _own_task(model, home), model.classes
    else:
        task, answers = _task_of(model, data, split, classes, notes)
    if split == "test":
        check_parts(task.dataset, task.manifest, whole=True)
    task, seen = _unseen(model, home, task, split, allow_seen, notes)
    line = _asked(model, home, task, notes) if split == "test" else None
    judged = judge(_Fitted(model), task, split, tta, answers)
    figures = judged.figures.model_copy(update={"seen": seen}) if seen else judged.figures
    if line is not None:
        answered(*line, figures)
        figures = figures.model_copy(update={"asked": line[1].number})
    if (data is None or seen) and (absent := judged.figures.absent()):
        notes.append(without_faces(split, absent))
    mistakes = _mistakes(judged)
    pictures = None if explain is None else _explained(model, task, explain)
    return ModelJudgement(
        task, split, judged.y, judged.probabilities, figures, model.name, model.origin, notes, mistakes, pictures
    )


def _asked(model: FaceModel, home: Path, task: Task, notes: list[str]) -> tuple[MlflowClient, Line] | None:
    """The line in the ledger of test, and the store that has it; None, with a note, where the home cannot be written."""
    sweep = None if model.origin.sweep is None else read_sweep_json(find_sweep(home, model.origin.sweep))
    client = open_ledger(home, None if sweep is None else sweep.asked.tracking.uri)
    if client is None:
        notes.append("that test was asked is not in the ledger: the home cannot be written")
        return None
    return client, ask(client, home, task, model=model.name, verb="evaluate")


def _unseen(
    model: FaceModel, home: Path, task: Task, split: str, allow_seen: bool, notes: list[str]
) -> tuple[Task, Learned | None]:
    """The task of the faces that are judged, and what the model learned of the split. What is to be known goes to `notes`.

    Raises InputError where it learned them all, or the split, unless that is allowed.
    """
    seen = seen_by(model, home, task, split)
    if seen is None:
        return task, None
    same_data = learned_split(model, task, split)
    if (same_data or (len(seen.faces) and seen.faces.all())) and not allow_seen:
        raise InputError(
            f"{model.name} learned {split} of {task.place}: figures on it say nothing about new faces; take "
            f"{'' if split == 'test' else '--split test, or '}another dataset with --data, or --allow-seen to judge it all the same"
        )
    if same_data:
        notes.insert(
            0, f"{model.name} learned these faces ({split} is among what it was trained on): no figures of new faces"
        )
        return task, Learned(same=seen.num_same or len(seen.faces), judged=True)
    if not seen.faces.any():
        if seen.unknown or seen.uncompared:
            notes.append(seen.sentence(model.name))
        return task, None
    notes.insert(0, seen.sentence(model.name, "; judged all the same" if allow_seen else "; judged without them"))
    learned = Learned(same=seen.num_same, near=seen.num_near, judged=allow_seen)
    return task if allow_seen else task.without(split, seen.faces), learned


def _mistakes(judged: Judgement) -> list[Mistake]:
    task, predicted = judged.task, judged.probabilities.argmax(axis=1)
    certainty = judged.probabilities.max(axis=1)
    rows = np.flatnonzero(predicted != judged.y)
    rows = rows[np.argsort(-certainty[rows], kind="stable")]
    ids, sources = task.names(judged.split, rows)
    return [
        Mistake(
            face_id=ids[i],
            source=sources[i],
            true=task.classes[judged.y[row]],
            predicted=task.classes[int(predicted[row])],
            probability=float(certainty[row]),
        )
        for i, row in enumerate(rows)
    ]


def _own_task(model: FaceModel, home: Path) -> Task:
    """The task that the model learned, on its dataset."""
    if model.origin.sweep is None:
        raise InputError(f"{model.name}: say on which faces it is to be judged: --data DATASET")
    task = read_sweep_json(find_sweep(home, model.origin.sweep)).task()
    names = model.described["feature_names"]
    return task if names == task.feature_names else task_of_features(task.place, task.spec, names)  # of an ensemble


def _task_of(
    model: FaceModel, data: str | Path, split: str, classes: list[str] | None, notes: list[str]
) -> tuple[Task, list[str]]:
    """The task of those classes that model and dataset share, and the model's answers. What is left out goes to `notes`."""
    manifest = read_manifest(local(data))
    counts = manifest["counts"].get(split, {})
    labels = [label for label in manifest["classes"] if counts.get(label)]
    answers = model.classes or classes or manifest["classes"]
    groups = model.groups or {name: [name] for name in answers}
    shared = {name: [label for label in groups[name] if label in labels] for name in answers if name in groups}
    shared = {name: members for name, members in shared.items() if members}
    if not shared:
        raise InputError(
            f"{model.name} answers {', '.join(answers)}, and {split} of {data} has {', '.join(labels) or 'no faces'}: "
            "no class in common"
        )
    if len(shared) < len(answers):
        notes.append(without_faces(split, [name for name in answers if name not in shared]))
    used = [label for members in shared.values() for label in members]
    if unused := [label for label in labels if label not in used]:
        number = sum(counts[label] for label in unused)
        notes.append(f"not judged: {number} faces of {', '.join(unused)}, for which the model has no class")
    if vector_names(model.described["feature_names"]):
        notes += _other_views(model.described.get("preprocessing", {}), manifest.get("landmarks"))
    if model.described.get("fingerprint") not in (None, manifest["fingerprint"]):
        notes.append("another dataset than the one that the model learned from")
    return model.task(data, shared), list(answers)


def _other_views(learned: Mapping[str, Any], landmarks: Mapping[str, Any] | None) -> list[str]:
    """Where MediaPipe was shown the dataset's faces in another way than those that the model learned from.

    Args:
        learned: the model's preprocessing.
        landmarks: the options in the dataset's manifest; None: `prepare` did not show them to MediaPipe.
    """
    if "border" not in learned:
        return []
    if not landmarks:
        return ["the dataset's blendshapes are ready-made: how MediaPipe was shown the faces is not known"]
    one_view = {"views": 1}  # of a model or a dataset that was made before there were several
    shown, known = {**one_view, **landmarks}, {**one_view, **learned}
    return [
        f"MediaPipe was shown the faces with {key} {shown[key]:g}, the model learned from {known[key]:g}"
        for key in ("border", "size", "views")
        if shown[key] != known[key]
    ]


def without_faces(split: str, classes: Sequence[str]) -> str:
    return f"{split} has no faces of {', '.join(classes)}: counted in no score"


class _Fitted:
    """A model that is shown faces in the size that it learned."""

    def __init__(self, model: FaceModel):
        self._model = model
        if getattr(model.loaded, "predict_tta", None) is not None:
            self.predict_tta = self._predict_tta

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._model.predict(self._model.fitted(x))

    def _predict_tta(self, x: np.ndarray) -> np.ndarray:
        return self._model.loaded.predict_tta(self._model.fitted(x))


def _explained(model: FaceModel, task: Task, directory: Path) -> list[str]:
    from fersweep.results.evaluate.explanations import draw_explanations

    pictures = [str(path) for path in draw_explanations(model.loaded, task, directory)]
    if not pictures:
        raise InputError(
            f"--explain: a {model.described.get('trainable', 'model of that kind')} has no feature maps to look at; nets "
            "with convolutions have them (cnn, transfer with head: dense)"
        )
    return pictures
