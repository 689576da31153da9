"""ASHA: at each rung a trial goes on if it is among the best 1/reduction of those that have reached the rung.

Li et al. 2018, arXiv:1810.05934; asynchronous, by quantile as in Ray Tune and Syne Tune. A rung is a function of the
journal: the best value of each trial within its epochs. Of several objectives, the best are those of the first fronts
(MO-ASHA, Schmucker et al. 2021, arXiv:2106.12639), and within a front those that are farthest from their neighbours.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np

from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.ranking.order import Order, objectives_of
from fersweep.results.record.ranking.pareto import crowding_distances, non_dominated_ranks
from fersweep.results.record.ranking.progress import crossed, epochs_at, progress, takes_part
from fersweep.results.record.trial_record import TrialRecord
from fersweep.search_spaces.sweep_file.schema import Stop


class Rung:
    """The trials that have reached `level` epochs (or seconds), and their values there; kept level with a record
    (results/record/ranking/derived.py).

    Attributes:
        values: trial → best value within the epochs that count there, negative where the sweep minimises; None: none is finite.
        sorted: those that are not None, ascending.
    """

    def __init__(self, level: float, metric: str, mode: str, unit: str = "epochs"):
        self._level, self._metric, self._mode, self._unit = level, metric, mode, unit
        self.values: dict[int, float | None] = {}
        self.sorted: list[float] = []

    def see(self, trial: TrialRecord) -> None:
        if not takes_part(trial):
            value = self.values.pop(trial.number, None)
            if value is not None:
                del self.sorted[bisect_left(self.sorted, value)]
            return
        if trial.number in self.values:  # what counts here does not change any more
            return
        count = epochs_at(progress(trial, self._unit), self._level)
        if count is None:
            return
        value = trial.value(self._metric, self._mode, count)
        if value is not None:
            value = value if self._mode == "max" else -value
            insort(self.sorted, value)
        self.values[trial.number] = value

    def survives(self, number: int, reduction: int) -> bool:
        """Whether trial `number`, which is here, goes on. It is itself among those compared."""
        value = self.values.get(number)
        return value is not None and value >= quantile(self.sorted, 1 - 1 / reduction)

    def needed(self, reduction: int) -> str:
        """The least value of the best 1/reduction in words; "" where no trial has a value."""
        if not self.sorted:
            return ""
        value = quantile(self.sorted, 1 - 1 / reduction)
        return f", {value if self._mode == 'max' else -value:.4g},"


class FrontRung:
    """A rung of several objectives; as Rung. `losses`: trial → its objectives there, of which less is better."""

    def __init__(self, level: float, order: Order, unit: str):
        self._level, self._order, self._unit = level, order, unit
        self.losses: dict[int, list[float] | None] = {}
        self._place: dict[int, int] | None = None  # of those with values, from 0; None: a trial has come since

    def see(self, trial: TrialRecord) -> None:
        if not takes_part(trial):
            if self.losses.pop(trial.number, None) is not None:
                self._place = None
            return
        if trial.number in self.losses:
            return
        count = epochs_at(progress(trial, self._unit), self._level)
        if count is not None:
            self.losses[trial.number] = self._order.losses(trial, count)
            self._place = None

    def survives(self, number: int, reduction: int) -> bool:
        """Whether trial `number`, which is here, is among as many as a quantile of one objective lets through."""
        if self._place is None:
            self._place = _places({trial: losses for trial, losses in self.losses.items() if losses is not None})
        return number in self._place and self._place[number] <= (len(self._place) - 1) // reduction

    def needed(self, reduction: int) -> str:
        return ""


def _places(losses: dict[int, list[float]]) -> dict[int, int]:
    """Trial → its place, from 0: by front, then by crowding distance within it, the largest first, then by number."""
    numbers, values = np.array(list(losses)), np.array(list(losses.values()))
    if not len(numbers):
        return {}
    ranks = non_dominated_ranks(values, ["min"] * values.shape[1])
    crowding = np.zeros(len(numbers))
    for rank in range(ranks.max() + 1):
        crowding[ranks == rank] = crowding_distances(values[ranks == rank])
    order = np.lexsort((numbers, -crowding, ranks))
    return {int(numbers[index]): place for place, index in enumerate(order)}


class Asha:
    """A trial ends at a rung where it is not among the best 1/reduction."""

    def __init__(self, stop: Stop):
        self._stop = stop

    def judge(self, record: SweepRecord, number: int, before: int) -> str | None:
        stop = self._stop
        for _, level, _ in crossed(record.trials[number], stop.rungs(), stop.unit, before):
            rung = rung_at(record, stop, level)
            if not rung.survives(number, stop.reduction):
                return f"below the best 1/{stop.reduction}{rung.needed(stop.reduction)} at {stop.at(level)}"
        return None


def rung_at(record: SweepRecord, stop: Stop, level: float) -> Rung | FrontRung:
    if stop.objectives:
        return record.derived(FrontRung, level, Order(*objectives_of(stop)), stop.unit)
    return record.derived(Rung, level, stop.metric, stop.mode, stop.unit)


def survives(record: SweepRecord, stop: Stop, number: int, level: float) -> bool:
    """Whether trial `number` goes on from the rung at `level`. The trial itself is among those compared."""
    return rung_at(record, stop, level).survives(number, stop.reduction)


def quantile(ascending: Sequence[float], share: float) -> float:
    """What numpy.quantile says to the bit, without a look at all values."""
    at = (len(ascending) - 1) * share
    lower, higher = ascending[int(at)], ascending[min(int(at) + 1, len(ascending) - 1)]
    weight = at - int(at)
    return lower + (higher - lower) * weight if weight < 0.5 else higher - (higher - lower) * (1 - weight)
