"""What one or several models see in the faces of an image: the faces are found once, and each model answers.

with Recogniser([open_model("champion", home)]) as recogniser:
    faces = recogniser.faces(image)                       # fersweep.data_pipeline.tasks.photo_reader.Seen
    answers = recogniser.answers(faces)                   # of each face, of each model: (C,) probabilities or None
    recogniser.label(faces[0].box, answers[0])            # LabelledFace
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.data_pipeline.faces.landmarker import Box
from fersweep.data_pipeline.tasks.photo_reader import PhotoReader, Seen
from fersweep.results.models.face_model import FaceModel
from fersweep.results.predict.draw import Mark

Answers = list[np.ndarray | None]  # of one face, one a model: (C,) float probabilities; None: no expression found


@dataclass(frozen=True)
class Expression:
    """What a model sees in a face. Both are None where the landmarker finds no face in the face's crop.

    probabilities: class → probability.
    """

    label: str | None = None
    probabilities: dict[str, float] | None = None

    @property
    def caption(self) -> str:
        """Label and probability, e.g. `happy 93%`."""
        if self.label is None or self.probabilities is None:
            return "no expression"
        return f"{self.label} {self.probabilities[self.label]:.0%}"


@dataclass(frozen=True)
class LabelledFace:
    """A face of an image. box: left, top, right, bottom in pixels. expressions: by the model's short name, in order."""

    box: Box
    expressions: dict[str, Expression]

    @property
    def expression(self) -> Expression:
        """That of the first model."""
        return next(iter(self.expressions.values()))

    @property
    def label(self) -> str | None:
        return self.expression.label

    @property
    def probabilities(self) -> dict[str, float] | None:
        return self.expression.probabilities

    @property
    def caption(self) -> str:
        """What is written at the face: label and probability; of several models a line each."""
        if len(self.expressions) == 1:
            return self.expression.caption
        return "\n".join(f"{name}: {expression.caption}" for name, expression in self.expressions.items())

    @property
    def mark(self) -> Mark:
        """How the face is drawn."""
        return Mark(self.box, self.label, self.caption)

    def as_json(self) -> dict[str, Any]:
        content = {"box": list(self.box), **asdict(self.expression)}
        if len(self.expressions) > 1:
            content["models"] = {name: asdict(expression) for name, expression in self.expressions.items()}
        return content


class Recogniser(AbstractContextManager["Recogniser"]):
    """Several models beside one PhotoReader. The first model is the one whose label a face gets."""

    def __init__(self, models: Sequence[FaceModel], bundle: Path | None = None):
        for model in models:
            if not model.classes:
                raise InputError(f"{model.name}: it does not say its classes; give it them as the attribute `classes`")
        self.models = list(models)
        self.names = _short_names([model.name for model in models])
        self.classes: list[list[str]] = [list(model.classes or ()) for model in models]
        self._reader = PhotoReader(*(model.described for model in models), bundle=bundle)

    def check_window(self, window: int) -> None:
        """Raise InputError if a model cannot see `window` frames at once; 0: each sees one."""
        for model in self.models if window else ():
            if not hasattr(model.loaded, "predict_window"):
                raise InputError(
                    f"--window {window}: {model.name} sees one frame; only blendshape_lstm with layout: features can see several"
                )

    def faces(self, image: np.ndarray, near: Sequence[Box] | None = None, film: bool = False) -> list[Seen]:
        """PhotoReader.faces."""
        return self._reader.faces(image, near, film)

    def answers(self, faces: Sequence[Seen]) -> list[Answers]:
        """Of each face what each model answers. Each model is called once, for all faces."""
        by_model = [
            self.ask(index, [face.views[index].features for face in faces]) for index, _ in enumerate(self.models)
        ]
        return [list(answers) for answers in zip(*by_model, strict=True)]

    def ask(self, index: int, inputs: Sequence[np.ndarray | None]) -> Answers:
        """What model `index` answers to each input; None for None."""
        known = [x for x in inputs if x is not None]
        rows = iter(self._checked(index, self.models[index].predict(np.stack(known))) if known else ())
        return [None if x is None else next(rows) for x in inputs]

    def ask_window(self, index: int, windows: Sequence[Sequence[np.ndarray] | None]) -> Answers:
        """What model `index` answers to each window: a face's inputs of the last frames, the latest one last."""
        model = self.models[index].loaded
        return [None if not x else np.asarray(model.predict_window(np.stack(x)[None])[0]) for x in windows]

    def _checked(self, index: int, probabilities: np.ndarray) -> np.ndarray:
        if probabilities.shape[1] != len(self.classes[index]):
            raise InputError(
                f"{self.names[index]}: it names {len(self.classes[index])} classes, but answers {probabilities.shape[1]} probabilities"
            )
        return probabilities

    def label(self, box: Box, answers: Answers) -> LabelledFace:
        """The face in `box`, with what each model answers."""
        expressions = [_expression(classes, answer) for classes, answer in zip(self.classes, answers, strict=True)]
        return LabelledFace(box, dict(zip(self.names, expressions, strict=True)))

    def close(self) -> None:
        self._reader.close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def _expression(classes: list[str], answer: np.ndarray | None) -> Expression:
    if answer is None:
        return Expression()
    return Expression(classes[int(answer.argmax())], dict(zip(classes, map(float, answer), strict=True)))


def _short_names(names: Sequence[str]) -> list[str]:
    """Of each name as many of its path's last parts as distinguish it from the others; a number after equal ones."""
    unique: list[str] = []
    for i, name in enumerate(names):
        parts, others = Path(name).parts, {other for other in names if other != name}
        endings = [str(Path(*parts[-n:])) for n in range(1, len(parts) + 1)]
        short = next(
            ending
            for ending in endings
            if ending == endings[-1] or not any(f"/{other}".endswith(f"/{ending}") for other in others)
        )
        unique.append(short if names.count(name) == 1 else f"{short} ({names[: i + 1].count(name)})")
    return unique
