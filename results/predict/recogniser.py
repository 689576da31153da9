"""What one or several models say of the faces of an image: the faces are found once, and each model answers.

with Recogniser([open_model("champion", home)]) as recogniser:
    faces = recogniser.faces(image)                       # fersweep.data_pipeline.tasks.photo_reader.Seen
    answers = recogniser.answers(faces)                   # of each face, of each model: (C,) probabilities or None
    recogniser.record(faces[0].box, answers[0])           # JSON-able
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.faces.landmarker import Box
from fersweep.data_pipeline.tasks.photo_reader import PhotoReader, Seen
from fersweep.results.models.face_model import FaceModel
from fersweep.results.predict.draw import Mark

Answers = list[np.ndarray | None]  # of one face, one a model: (C,) float probabilities; None: no expression found


class Recogniser(AbstractContextManager["Recogniser"]):
    """Several models beside one PhotoReader. The first model is the one whose label a face gets."""

    def __init__(self, models: Sequence[FaceModel], bundle: Path | None = None):
        for model in models:
            if not model.classes:
                raise InputError(f"{model.name}: it does not say its classes; give it them as the attribute `classes`")
        if len(trainables.frameworks_of(model.described for model in models) - {"numpy"}) > 1:
            trainables.share_process()
        self.models = list(models)
        self.names = _short_names([model.name for model in models])
        self.classes: list[list[str]] = [list(model.classes or ()) for model in models]
        self._reader = PhotoReader(*(model.described for model in models), bundle=bundle)

    def faces(self, image: np.ndarray, near: Sequence[Box] | None = None) -> list[Seen]:
        """PhotoReader.faces."""
        return self._reader.faces(image, near)

    def answers(self, faces: Sequence[Seen]) -> list[Answers]:
        """Of each face what each model says. Each model is asked once, for all faces."""
        asked = [self.ask(index, [face.views[index].features for face in faces]) for index, _ in enumerate(self.models)]
        return [list(answers) for answers in zip(*asked, strict=True)]

    def ask(self, index: int, inputs: Sequence[np.ndarray | None]) -> Answers:
        """What model `index` says of each input that is one."""
        given = [x for x in inputs if x is not None]
        found = iter(self._checked(index, self.models[index].predict(np.stack(given))) if given else ())
        return [None if x is None else next(found) for x in inputs]

    def ask_window(self, index: int, windows: Sequence[Sequence[np.ndarray] | None]) -> Answers:
        """What model `index` says of each window: a face's inputs of the last frames, the latest one last."""
        model = self.models[index].loaded
        return [None if not x else np.asarray(model.predict_window(np.stack(x)[None])[0]) for x in windows]

    def _checked(self, index: int, probabilities: np.ndarray) -> np.ndarray:
        if probabilities.shape[1] != len(self.classes[index]):
            raise InputError(
                f"{self.names[index]}: it names {len(self.classes[index])} classes, but answers {probabilities.shape[1]} probabilities"
            )
        return probabilities

    def record(self, box: Box, answers: Answers) -> dict[str, Any]:
        """{box, label, probabilities} of the first model; of several also `models`: name → {label, probabilities}."""
        one = [_record(classes, answer) for classes, answer in zip(self.classes, answers, strict=True)]
        record = {"box": list(box), **one[0]}
        return record | {"models": dict(zip(self.names, one, strict=True))} if len(one) > 1 else record

    def close(self) -> None:
        self._reader.close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def _record(classes: list[str], answer: np.ndarray | None) -> dict[str, Any]:
    if answer is None:
        return {"label": None, "probabilities": None}
    return {
        "label": classes[int(answer.argmax())],
        "probabilities": dict(zip(classes, map(float, answer), strict=True)),
    }


def _short_names(names: Sequence[str]) -> list[str]:
    """Of each name as many of its path's last parts as tell it from the others; a number behind equal ones."""
    made = []
    for i, name in enumerate(names):
        parts, others = Path(name).parts, {other for other in names if other != name}
        short = [str(Path(*parts[-n:])) for n in range(1, len(parts) + 1)]
        own = next(one for one in short if one == short[-1] or not any(f"/{o}".endswith(f"/{one}") for o in others))
        made.append(own if names.count(name) == 1 else f"{own} ({list(names[: i + 1]).count(name)})")
    return made


def caption(record: dict[str, Any]) -> str:
    """What is written at a face: label and probability; of several models a line each."""
    if "models" not in record:
        return _caption(record)
    return "\n".join(f"{name}: {_caption(one)}" for name, one in record["models"].items())


def _caption(one: dict[str, Any]) -> str:
    return "no expression" if one["label"] is None else f"{one['label']} {one['probabilities'][one['label']]:.0%}"


def mark(record: dict[str, Any]) -> Mark:
    """How a face is drawn."""
    return Mark(tuple(record["box"]), record["label"], caption(record))
