"""What the comparisons return: the trials of a sweep, several sweeps, two trials. Fields are the keys of `--json`, in order."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from fersweep.results.record.journal import Hparams
from fersweep.results.record.ranking.finalists import Final
from fersweep.results.record.sweep_json import Learned
from fersweep.results.scores.paired import Difference, NoDifference


@dataclass(frozen=True)
class TrialRow:
    """A trial among the best of its sweep.

    Attributes:
        ended: how it ended, and after how many epochs: `stopped at epoch 5`.
        point: name of the named point that it tried, if any.
        value: the sweep's metric at `best_epoch`.
        epochs: how many it trained.
        scores: VAL_SCORES and TTA_SCORES at the best epoch, as far as it has them.
        recall: by class, None of one without faces of val; None while there are no predictions.
        hparams: those that vary within the sweep.
        against_best: what the best trial scores more; None for the best itself.
        costs: of its model, as far as they were measured: latency_ms, weights, checkpoint_bytes, train_s.
        front: of several objectives 0 for the trials that no other beats in all of them, 1 for those that are the front
            without these, …; None: of one objective, or infeasible.
        infeasible: the constraints that it does not keep to: `latency_ms 7.1 > 5`.
    """

    trial: int
    state: str
    ended: str
    point: str | None
    value: float
    best_epoch: int
    epochs: int
    scores: dict[str, float]
    recall: dict[str, float | None] | None
    hparams: Hparams
    against_best: Difference | NoDifference | None
    costs: dict[str, float]
    front: int | None
    infeasible: str | None


@dataclass(frozen=True)
class BaselineRow:
    """Scores on val, and recall by class (as in TrialRow), of what a trial has to beat."""

    name: str
    scores: dict[str, float]
    recall: dict[str, float | None]


@dataclass(frozen=True)
class FrontFigures:
    """The trials that no other beats in all objectives.

    Attributes:
        trials: best first by the first objective.
        knee: the one that gives the most in each objective for the least in the others.
        best: objective → the front's best trial in it.
        hypervolume: in [0, 1], as a share of the box between the best and the worst values of all trials.
    """

    trials: list[int]
    knee: int
    best: dict[str, int]
    hypervolume: float


@dataclass(frozen=True)
class SweepTrials:
    """The best trials of a sweep, best first.

    Attributes:
        faces: which faces of val the scores are of, in words.
        session: what the last driver did: started, finished, failed, interrupted; None: there was none.
        states: number of trials by state.
        total_epochs: of all trials.
        hparams: those that all trials have in common.
        score: which of SCORES decides what is noise.
        notes: classes without faces, and what that means; which trials were trained with which version of somebody's own code;
            whether no trial keeps to the constraints.
        objectives: metric → max or min; one or more.
        constraints: as the sweep file has them.
        front: None: of one objective, or there is none yet.
        budget: what is spent of each part of the search's budget, in words.
        finalists: what became of them; None where there are none.
    """

    sweep: str
    trainable: str
    metric: str
    mode: str
    classes: list[str]
    faces: str
    dataset: Learned
    session: str | None
    states: dict[str, int]
    total_epochs: int
    hparams: Hparams
    score: str
    trials: list[TrialRow]
    baselines: list[BaselineRow]
    notes: list[str]
    objectives: dict[str, str]
    constraints: list[str]
    front: FrontFigures | None
    budget: list[str]
    finalists: Final | None

    def as_json(self) -> dict[str, Any]:
        """What `fersweep compare NAME --json` prints."""
        final = self.finalists.as_json() if self.finalists else None
        return asdict(replace(self, finalists=None)) | {
            "dataset": self.dataset.model_dump(mode="json"),
            "finalists": final,
        }


@dataclass(frozen=True)
class TrialScores:
    """A trial, `name` is `cnn:7`, and its metric, VAL_SCORES and loss on val at its best epoch; `ended` as in TrialRow."""

    name: str
    sweep: str
    trainable: str
    trial: int
    state: str
    ended: str
    point: str | None
    best_epoch: int | None
    epochs: int
    scores: dict[str, float]


@dataclass(frozen=True)
class BestTrial(TrialScores):
    """The best trial of a sweep: its value, with a 95 % interval if its answers give one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RankedTrial(TrialScores):
    """A trial among the best of several sweeps; `hparams` and `against_best` as in TrialRow."""

    value: float
    hparams: Hparams
    against_best: Difference | NoDifference | None


@dataclass(frozen=True)
class BaselineValue:
    """The sweep's metric on val of always answering the most frequent class; None if the metric is no score."""

    name: str
    value: float | None


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep searched on what, its best trial, its baseline, and what it cost.

    Attributes:
        fraction: share of train that its trials learned.
        faces, num_faces: the faces of val in words, and how many the best trial answered (None: no answers yet).
        session, states, total_epochs: as in SweepTrials.
        wall_s, trial_s: as in record/timeline.Cost.
    """

    sweep: str
    trainable: str
    metric: str
    mode: str
    dataset: Learned
    classes: list[str]
    features: str
    fraction: float
    faces: str
    num_faces: int | None
    session: str | None
    states: dict[str, int]
    total_epochs: int
    wall_s: float
    trial_s: float
    best: BestTrial | None
    baseline: BaselineValue

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"dataset": self.dataset.model_dump(mode="json")}


@dataclass(frozen=True)
class Pair:
    """The names of two trials, and what the first scores more than the second."""

    a: str
    b: str
    difference: Difference | NoDifference

    def as_json(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b, **asdict(self.difference)}


@dataclass(frozen=True)
class ComparedTrials:
    """Two trials.

    Attributes:
        score: which of SCORES decides what is noise.
        reasons: why their scores cannot be compared, empty if they can.
        hparams: those that differ: name → of a, of b; None where a trial has none.
        num_same: number of the others.
    """

    a: TrialScores
    b: TrialScores
    score: str
    reasons: list[str]
    hparams: dict[str, tuple[Any, Any]]
    num_same: int
    difference: Difference | NoDifference

    @property
    def pair(self) -> Pair:
        return Pair(self.a.name, self.b.name, self.difference)

    def as_json(self) -> dict[str, Any]:
        """What `fersweep compare A:3 B:7 --json` prints."""
        return asdict(self)


@dataclass(frozen=True)
class ComparedSweeps:
    """Two sweeps or more.

    Attributes:
        reasons: why their scores cannot be compared, empty if they can.
        score: which of SCORES decides what is noise.
        pairs: the best trials, each with each.
        trials: the best of all sweeps; empty if there are `reasons`.
        differences: of the best trials of two sweeps; None for more, or while one has no trial.
    """

    sweeps: list[SweepSummary]
    reasons: list[str]
    score: str
    pairs: list[Pair]
    trials: list[RankedTrial]
    differences: ComparedTrials | None

    def as_json(self) -> dict[str, Any]:
        """What `fersweep compare A B --json` prints."""
        sweeps, pairs = [sweep.as_json() for sweep in self.sweeps], [pair.as_json() for pair in self.pairs]
        return asdict(self) | {"sweeps": sweeps, "pairs": pairs}
