"""A trial ends whose best value so far is worse than a percentile of what the finished trials had there.

The median stopping rule is that of Vizier (Golovin et al. 2017, "Google Vizier: A Service for Black-Box Optimization", section
3.2.2): the median of the running averages. With `against: values` it is the values themselves, as in Optuna's PercentilePruner.
"""

from __future__ import annotations

from fersweep.cluster.schedulers.asha import quantile
from fersweep.cluster.schedulers.levels import Levels
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.ranking.progress import crossed
from fersweep.search_spaces.sweep_file.schema import Stop
from fersweep.search_spaces.sweep_file.sections import schedulers


class Percentile:
    """`percentile`: of the finished trials, the best so many are good enough; `name`: these in a reason."""

    def __init__(self, stop: Stop, options: schedulers.Median, percentile: float, name: str):
        self._stop, self._options, self._percentile, self._name = stop, options, percentile, name
        self._levels = tuple(stop.rungs())
        averaged = options.against == "averages"
        self._derived = self._levels, stop.metric, stop.mode, stop.unit, ("finished",), averaged

    def judge(self, record: SweepRecord, number: int, before: int) -> str | None:
        stop, trial, finished = self._stop, record.trials[number], record.derived(Levels, *self._derived)
        if finished.num_trials < self._options.startup_trials:
            return None
        for index, level, count in crossed(trial, self._levels, stop.unit, before):
            best = trial.value(stop.metric, stop.mode, count)
            if best is None:
                return f"no finite {stop.metric} at {stop.at(level)}"
            values = finished.values[index]
            if len(values) < self._options.min_trials:
                continue
            sign = 1 if stop.mode == "max" else -1
            needed = sign * quantile(values, 1 - self._percentile / 100)
            if sign * best < sign * needed:
                side = "below" if stop.mode == "max" else "above"
                return f"{side} {self._name}, {needed:.4g}, at {stop.at(level)}"
        return None


def median(stop: Stop) -> Percentile:
    return Percentile(stop, schedulers.Median(**stop.scheduler_options), 50.0, "the median")


def percentile(stop: Stop) -> Percentile:
    options = schedulers.Percentile(**stop.scheduler_options)
    return Percentile(stop, options, options.percentile, f"the best {options.percentile:g} %")
