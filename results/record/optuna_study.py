"""A sweep's journal as an Optuna study: what the search asks, and what the report draws.

    study_of(record, "val_macro_f1", "max").best_trial

Finished trials are COMPLETE with their best value, stopped ones PRUNED with their intermediate values, failed ones FAIL,
running ones RUNNING. Importing this module loads no Optuna.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Protocol

from fersweep.common.errors import InputError
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.trial_record import Stretch

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


class Goal(Protocol):
    """What trials are judged by; hashable, and the same for the whole sweep."""

    @property
    def directions(self) -> tuple[Literal["maximize", "minimize"], ...]:
        """`maximize` or `minimize`, one for each objective."""
        ...

    def values(self, trial: TrialRecord) -> list[float] | None:
        """One for each objective, finite; None where the trial has none."""
        ...

    def constraints(self, trial: TrialRecord) -> dict[str, float]:
        """By name: above 0 where it is violated. All trials that have values have the same names."""
        ...

    def curve(self, trial: TrialRecord) -> Sequence[float]:
        """The objective at each epoch; empty where there are several."""
        ...

    def tried(self, trial: TrialRecord) -> Stretch:
        """The parameters that gave the trial its values: PBT changes them."""
        ...


@dataclass(frozen=True)
class OneMetric:
    """A Goal: the metric at the trial's best epoch."""

    metric: str
    mode: str

    @property
    def directions(self) -> tuple[Literal["maximize", "minimize"], ...]:
        return ("maximize" if self.mode == "max" else "minimize",)

    def values(self, trial: TrialRecord) -> list[float] | None:
        value = trial.value(self.metric, self.mode)
        return None if value is None else [value]

    def constraints(self, trial: TrialRecord) -> dict[str, float]:
        return {}

    def curve(self, trial: TrialRecord) -> Sequence[float]:
        return trial.epochs.column(self.metric)

    def tried(self, trial: TrialRecord) -> Stretch:
        return trial.at_best(self.metric, self.mode)


def frozen(trial: TrialRecord, goal: Goal, judge_stopped: bool = False, curve: bool = True) -> optuna.trial.FrozenTrial:
    """A trial of the journal as one of Optuna's.

    Args:
        judge_stopped: stopped trials that have values are COMPLETE, too.
        curve: with intermediate values.
    """
    from optuna.trial import TrialState, create_trial

    values, tried = goal.values(trial), goal.tried(trial)
    state = {
        "running": TrialState.RUNNING,
        "finished": TrialState.FAIL if values is None else TrialState.COMPLETE,
        "stopped": TrialState.COMPLETE if judge_stopped and values is not None else TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }[trial.state]
    has_values = state in (TrialState.COMPLETE, TrialState.PRUNED)
    try:
        return create_trial(
            state=state,
            values=values if has_values else None,
            intermediate_values=dict(enumerate(goal.curve(trial), 1)) if curve else None,
            constraints=goal.constraints(trial) if has_values and values is not None else None,
            params=tried.params,
            distributions={name: distribution(text) for name, text in tried.distributions.items()},
        )
    except (ValueError, TypeError, KeyError) as error:
        what = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"journal.jsonl: the parameters of trial {trial.name} are not of their distributions ({what}); put a copy of the file back"
        ) from None


@lru_cache(1000)
def distribution(text: str) -> BaseDistribution:
    """The same one for all trials; nobody changes it."""
    from optuna.distributions import json_to_distribution

    return json_to_distribution(text)


def study_of(record: SweepRecord, metric: str, mode: str, judge_stopped: bool = False) -> optuna.Study:
    """The trials of a sweep as a study, in the journal's order. Repeats of finalists are FAIL, without parameters.

    judge_stopped: stopped trials that have a value are COMPLETE, too. Optuna's plots and importances look at complete
    trials alone, which under a scheduler are the good ones: what makes a trial bad could not be seen.
    """
    return study_for(record, OneMetric(metric, mode), judge_stopped)


def study_for(record: SweepRecord, goal: Goal, judge_stopped: bool = False, name: str | None = None) -> optuna.Study:
    """The same for any goal, such as an Order with several objectives. `name`: of the study."""
    import optuna

    trials = [
        frozen(trial, goal, judge_stopped)
        if trial.repeat_of is None
        else optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL)  # it keeps its number, and says nothing
        for trial in record.trials.values()
    ]
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(study_name=name, directions=list(goal.directions), sampler=sampler)
    study.add_trials(trials)
    return study
