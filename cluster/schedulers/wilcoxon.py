"""A trial ends whose values over folds are significantly worse than those of the best trial at the same epoch.

Wilcoxon's signed-rank test over the pairs of folds, one-sided, zero differences split between both signs, as Optuna's
WilcoxonPruner does over the steps of a trial. Over K folds no p is below 2^−K.
"""

from __future__ import annotations

import math
from typing import Any

from fersweep.cluster.schedulers.levels import Levels
from fersweep.common.errors import InputError
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.ranking.progress import crossed, epochs_at, progress
from fersweep.results.record.trial_record import TrialRecord
from fersweep.search_spaces.sweep_file.schema import Stop
from fersweep.search_spaces.sweep_file.sections import schedulers
from fersweep.trainables.metrics import fold_values

STATES = ("running", "finished", "stopped")  # of the trials that can be the best


class Wilcoxon:
    def __init__(self, stop: Stop):
        self._stop, self._threshold = stop, schedulers.Wilcoxon(**stop.scheduler_options).p_threshold
        self._levels = tuple(stop.rungs())
        self._derived = self._levels, stop.metric, stop.mode, stop.unit, STATES, False

    def judge(self, record: SweepRecord, number: int, before: int) -> str | None:
        stop, trial = self._stop, record.trials[number]
        trials = record.derived(Levels, *self._derived)
        for index, level, _ in crossed(trial, self._levels, stop.unit, before):
            if (leader := trials.best(index)) is None:
                continue
            best = record.trials[leader]
            own, others = self._values(trial, level), self._values(best, level)
            if best is trial or not own or len(own) != len(others) or not all(map(math.isfinite, own + others)):
                continue
            p = p_worse(own, others, stop.mode)
            if p < self._threshold:
                return f"worse than trial {best.name} over {len(own)} folds, p = {p:.3g}, at {stop.at(level)}"
        return None

    def _values(self, trial: TrialRecord, level: float) -> list[float]:
        """Of each fold at `level`, which the trial has reached."""
        return fold_values(
            trial.epochs[(epochs_at(progress(trial, self._stop.unit), level) or 1) - 1], self._stop.metric
        )


def p_worse(values: list[float], others: list[float], mode: str) -> float:
    """How probable it is that `values` are as much worse than `others`, pair by pair, if neither is better than the other."""
    from scipy import stats

    test: Any = stats.wilcoxon  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    differences = [value - other for value, other in zip(values, others, strict=True)]
    return float(test(differences, alternative="less" if mode == "max" else "greater", zero_method="zsplit").pvalue)


def check_folds(stop: Stop, num_folds: int) -> None:
    """Raises InputError where the test over so many folds can never come to `p_threshold`."""
    if stop.scheduler != "wilcoxon" and stop.scheduler_options.get("inner") != "wilcoxon":
        return
    options = stop.scheduler_options
    threshold = schedulers.Wilcoxon(**options.get("inner_options", options)).p_threshold
    if 2.0**-num_folds >= threshold:
        raise InputError(
            f"stop.scheduler_options.p_threshold: {threshold:g} is never reached over {num_folds} folds, where the least p is "
            f"2^-{num_folds} = {2.0**-num_folds:g}: want a higher one, or another scheduler"
        )
