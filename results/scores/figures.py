"""The figures of a model on one split of a dataset: what `evaluate` finds, `test_report.json` in MLflow, and `trees.json`.

figures = evaluate(model, task, "val")
figures.detected.macro_f1.value, figures.all.per_class["happy"].recall
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import model_validator

from fersweep.common.untrusted import MB, parse_json, read_regular
from fersweep.results.scores.intervals import FaceScores, Part

SETS = {
    "detected": "detected faces",
    "all": "all faces",
    "shared": "shared classes only",
    "tta": "with mirror image (tta)",
}


class Seed(Part):
    """A model of a refit, and its score on test."""

    seed: int
    value: float


class Refit(Part):
    """A trial's hparams trained again on train and val.

    Attributes:
        epochs: as many as at the trial's best.
        metric: the score on test that the median is taken by.
        ensemble: whether the mean of all seeds' probabilities is the model, instead of the median seed.
    """

    epochs: int
    metric: str
    ensemble: bool
    seeds: list[Seed]


class Figures(Part):
    """Scores of a model on one split of a task.

    Attributes:
        fingerprint: of the dataset.
        protocol: how the intervals were made.
        faces: what `detected` and `all` are of; "" in reports of older versions.
        shared: of answers limited to the classes that model and dataset share.
        tta: of answers averaged over each face and its mirror image.
        name: of a baseline.
        refit: of a promoted model that was trained again.
    """

    split: str
    fingerprint: str
    protocol: str
    classes: list[str]
    faces: str = ""
    detected: FaceScores
    all: FaceScores
    shared: FaceScores | None = None
    tta: FaceScores | None = None
    name: str | None = None
    refit: Refit | None = None

    @model_validator(mode="after")
    def _has_each_class(self) -> Figures:
        for scores in self.sets().values():
            if not set(self.classes) <= scores.per_class.keys():
                raise ValueError("scores of a class are missing")
        return self

    def absent(self) -> list[str]:
        """Classes without faces."""
        return [name for name in self.classes if not self.all.per_class[name].support]

    def sets(self) -> dict[str, FaceScores]:
        """The scores that differ, under the keys of SETS; first those that a model is ranked by."""
        same = self.detected.num_faces == self.all.num_faces
        every = {"detected": None if same else self.detected, "all": self.all, "shared": self.shared, "tta": self.tta}
        return {name: scores for name, scores in every.items() if scores is not None}


def read_kept(path: Path) -> tuple[dict[str, Any], Figures] | None:
    """`trees.json`: what the figures are of, and the figures; None where there are none that can be read."""
    try:
        content = parse_json(read_regular(path, 16 * MB))
        return dict(content["key"]), Figures.from_json(content["figures"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
