"""The figures of a model on one split of a dataset: what `evaluate` finds, `test_report.json` in MLflow, and `trees.json`.

figures = evaluate(model, task, "val")
figures.detected.macro_f1.value, figures.all.per_class["happy"].recall
"""

from __future__ import annotations

import statistics
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

    @property
    def mean(self) -> float:
        """Of the seeds' scores."""
        return statistics.fmean(seed.value for seed in self.seeds)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the seeds' scores (of a sample); None of one seed."""
        return statistics.stdev(seed.value for seed in self.seeds) if len(self.seeds) > 1 else None

    def __str__(self) -> str:
        """`macro_f1 on test of 5 seeds: 0.7120 ± 0.0081 (mean ± standard deviation)`."""
        name, values = self.metric.removeprefix("val_"), [seed.value for seed in self.seeds]
        if self.deviation is None:
            return f"{name} on test of one seed: {values[0]:.4f}"
        return (
            f"{name} on test of {len(values)} seeds: {self.mean:.4f} ± {self.deviation:.4f} (mean ± standard deviation)"
        )


class JoinedMember(Part):
    """A member of an ensemble that was chosen on val.

    Attributes:
        sees: its features, in words.
        weight: how often it was chosen.
        value: the metric on val of it alone, on the faces that any trial sees; those that it does not see are wrong.
        num_faces: of val, those that it sees.
    """

    name: str
    trainable: str
    sees: str
    weight: int
    value: float
    num_faces: int


class Joined(Part):
    """An ensemble whose members were chosen among the trials of sweeps (results/ensembles/choice.py).

    Attributes:
        how: greedy, or bagged.
        metric: on val, that it was chosen by.
        num_trials: among how many trials.
        num_left_out: trials that have no checkpoint, or no answers on val.
        num_faces: of val that any trial sees, which all values are of.
        best, best_value: the best single trial there.
        value: of the ensemble.
    """

    how: str
    metric: str
    num_trials: int
    num_left_out: int
    num_faces: int
    best: str
    best_value: float
    value: float
    members: list[JoinedMember]

    def sentence(self) -> str:
        """The figures on val, and what they are worth."""
        is_better = self.value < self.best_value if self.metric == "val_loss" else self.value > self.best_value
        return (
            f"{self.metric} on {self.num_faces} faces of val: {self.value:.4f}, the best single trial ({self.best}) "
            f"{self.best_value:.4f}{'' if is_better else ', which is no worse'}. val chose the members, so both are optimistic, the ensemble's more"
        )


class Learned(Part):
    """Faces of the split that the model learned, or may have.

    Attributes:
        same: the same picture as one that it learned.
        near: near twins of one that it learned; None where they were not looked for.
        judged: they are in the figures (`--allow-seen`); else they were left out.
    """

    same: int
    near: int | None = None
    judged: bool = False


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
        joined: of a promoted ensemble of trials.
        asked: how often the faces of test had been judged, this time included; None where that was not counted.
        seen: where the model learned faces of the split.
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
    joined: Joined | None = None
    asked: int | None = None
    seen: Learned | None = None

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
