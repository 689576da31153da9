"""What the trials of a sweep are ranked by: a metric, or several objectives, and the constraints that come before them.

    order = order_of(sweep.asked)
    record.ranked(order), order.values(trial), order.violations(trial), order.infeasible(trial)

It is also what a sampler is told of the trials (results/record/optuna_study.py, Goal).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fersweep.results.record.trial_record import Row, TrialRecord
from fersweep.search_spaces.sweep_file.schema import Stop, Sweep
from fersweep.search_spaces.sweep_file.sections.objectives import COSTS as COSTS  # imported from here by name
from fersweep.search_spaces.sweep_file.sections.objectives import Constraint


@dataclass(frozen=True)
class Order:
    """Hashable, so that `SweepRecord.derived` can take it.

    Attributes:
        metric, mode: of the first objective; the trial's best epoch by it is the one that counts.
        objectives: (metric, mode) of each, the first included; empty where there is only one.
        limits: what a trial must keep to.
    """

    metric: str
    mode: str
    objectives: tuple[tuple[str, str], ...] = ()
    limits: tuple[Constraint, ...] = ()

    @property
    def names(self) -> list[str]:
        """Metric of each objective, one or more."""
        return [metric for metric, _ in self.objectives or ((self.metric, self.mode),)]

    @property
    def modes(self) -> list[str]:
        return [mode for _, mode in self.objectives or ((self.metric, self.mode),)]

    @property
    def asked(self) -> set[str]:
        """The metrics and costs that it looks at."""
        return {*self.names, *(constraint.metric for constraint in self.limits)}

    @property
    def directions(self) -> tuple[Literal["maximize", "minimize"], ...]:
        """`modes` as Optuna has them."""
        return tuple("maximize" if mode == "max" else "minimize" for mode in self.modes)

    def values(self, trial: TrialRecord, num_epochs: int | None = None) -> list[float] | None:
        """Of each objective at the best of the first `num_epochs` epochs (None: of all); None where one is not known."""
        if not self.objectives:
            value = trial.value(self.metric, self.mode, num_epochs)
            return None if value is None else [value]
        row = self._row(trial, num_epochs)
        values = [_value(trial, row, name) for name in self.names]
        return values if all(map(math.isfinite, values)) else None

    def losses(self, trial: TrialRecord, num_epochs: int | None = None) -> list[float] | None:
        """`values` with their signs turned where more is better: the less, the better."""
        values = self.values(trial, num_epochs)
        if values is None:
            return None
        return [-value if mode == "max" else value for value, mode in zip(values, self.modes, strict=True)]

    def violations(self, trial: TrialRecord, num_epochs: int | None = None) -> tuple[float, ...]:
        """For each constraint how far the trial is beyond it, in shares of its limit: 0 or less where it keeps to it; infinite
        where its metric is not known (yet).
        """
        row = self._row(trial, num_epochs) if self.limits else None
        return tuple(constraint.violation(_value(trial, row, constraint.metric)) for constraint in self.limits)

    def constraints(self, trial: TrialRecord) -> dict[str, float]:
        """`violations` by constraint, as Optuna takes them."""
        return dict(zip(map(str, self.limits), self.violations(trial), strict=True))

    def curve(self, trial: TrialRecord) -> Sequence[float]:
        """The metric at each epoch; empty where there are several objectives."""
        return [] if self.objectives else trial.epochs.column(self.metric)

    def is_feasible(self, trial: TrialRecord, num_epochs: int | None = None) -> bool:
        """Whether the trial keeps to all constraints."""
        return all(violation <= 0 for violation in self.violations(trial, num_epochs))

    def infeasible(self, trial: TrialRecord, for_good: bool = False) -> str | None:
        """`latency_ms 7.1 > 5` for each constraint that the trial does not keep to; None: there is none.

        for_good: only those that it never will keep to, however long it trains, and whose metric is known.
        """
        if not self.limits:
            return None
        row, broken = self._row(trial, None), list[str]()
        for constraint in self.limits:
            value = _value(trial, row, constraint.metric)
            if constraint.violation(value) > 0 and (not for_good or (constraint.is_final and not math.isnan(value))):
                broken.append(_broken(constraint, value))
        return ", ".join(broken) or None

    def _row(self, trial: TrialRecord, num_epochs: int | None) -> Row | None:
        return trial.best(self.metric, self.mode, num_epochs)


def order_of(sweep: Sweep) -> Order:
    """What a sweep file asks for."""
    return Order(*objectives_of(sweep.stop), sweep.search.parsed_constraints)


def objectives_of(stop: Stop) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Metric, mode and objectives of an Order."""
    return stop.metric, stop.mode, tuple((objective.metric, objective.mode) for objective in stop.objectives)


def costs_of(trial: TrialRecord, best: Mapping[str, float] | None) -> dict[str, float]:
    """What a trial's model costs, as far as it is known, by name; `best`: the metrics of its best epoch."""
    costs = {name: _value(trial, best, name) for name in COSTS}
    return {name: value for name, value in costs.items() if math.isfinite(value)}


def _value(trial: TrialRecord, best: Mapping[str, float] | None, name: str) -> float:
    """A metric at the best epoch, or a cost; NaN where it is not known."""
    if name == "train_s":
        return math.nan if best is None else sum(trial.epochs.column("epoch_s")[: int(best["epoch"])])
    if name in COSTS:
        return trial.costs.get(name, math.nan)
    return math.nan if best is None else best.get(name, math.nan)


TURNED = {"<=": ">", ">=": "<", "<": ">=", ">": "<="}


def _broken(constraint: Constraint, value: float) -> str:
    if math.isnan(value):
        return f"{constraint.metric} is not known"
    shown = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return f"{constraint.metric} {shown} {TURNED[constraint.sign]} {constraint.limit:g}"
