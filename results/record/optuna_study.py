"""A sweep's journal as an Optuna study: what the search asks, and what the report draws.

    study_of(record, "val_macro_f1", "max").best_trial

Finished trials are COMPLETE with their best value, stopped ones PRUNED with their intermediate values, failed ones FAIL,
running ones RUNNING. Importing this module loads no Optuna.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from fersweep.results.record.journal import SweepRecord, TrialRecord

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


def freeze(trial: TrialRecord, metric: str, mode: str) -> optuna.trial.FrozenTrial:
    """A trial of the journal as one of Optuna's. Under PBT its parameters are those of the epoch that gives it its value."""
    from optuna.trial import TrialState, create_trial

    value, tried = trial.value(metric, mode), trial.at_best(metric, mode)
    state = {
        "running": TrialState.RUNNING,
        "finished": TrialState.COMPLETE if value is not None else TrialState.FAIL,
        "stopped": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }[trial.state]
    return create_trial(
        state=state,
        value=value if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        params=tried.params,
        distributions={name: _distribution(text) for name, text in tried.distributions.items()},
        intermediate_values=dict(enumerate(trial.epochs.column(metric), 1)),
    )


@lru_cache(1000)
def _distribution(text: str) -> BaseDistribution:
    """The same one for all trials; nobody changes it."""
    from optuna.distributions import json_to_distribution

    return json_to_distribution(text)


def study_of(record: SweepRecord, metric: str, mode: str, judge_stopped: bool = False) -> optuna.Study:
    """The trials of a sweep as a study, in the journal's order.

    judge_stopped: stopped trials that have a value are COMPLETE, too. Optuna's plots and importances look at complete
    trials alone, which under ASHA are the good ones: what makes a trial bad could not be seen.
    """
    import optuna

    trials: list[optuna.trial.FrozenTrial] = []
    for trial in record.trials.values():
        complete = judge_stopped and trial.state == "stopped" and trial.value(metric, mode) is not None
        trials.append(freeze(replace(trial, state="finished") if complete else trial, metric, mode))
    direction = "maximize" if mode == "max" else "minimize"
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    study.add_trials(trials)
    return study
