"""ASHA: at each rung a trial goes on if it is among the best 1/reduction of those that have reached the rung.

Li et al. 2018, arXiv:1810.05934; asynchronous, by quantile as in Ray Tune and Syne Tune. A rung is a function of the
journal: the best value of each trial within its epochs.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.trial_record import TrialRecord
from fersweep.search_spaces.sweep_file.schema import Stop


class Rung:
    """The trials that have reached `level` epochs, and their values there; kept level with a record (results/record/ranking/derived.py).

    Attributes:
        values: trial → best value within the first `level` epochs, negative where the sweep minimises; None: none is finite.
        sorted: those that are not None, ascending.
    """

    def __init__(self, level: int, metric: str, mode: str):
        self._level, self._metric, self._mode = level, metric, mode
        self.values: dict[int, float | None] = {}
        self.sorted: list[float] = []

    def see(self, trial: TrialRecord) -> None:
        if trial.num_epochs < self._level or trial.number in self.values:  # these epochs do not change any more
            return
        value = trial.value(self._metric, self._mode, self._level)
        if value is not None:
            value = value if self._mode == "max" else -value
            insort(self.sorted, value)
        self.values[trial.number] = value


class Asha:
    """A trial ends at a rung where it is not among the best 1/reduction."""

    def __init__(self, stop: Stop):
        self._stop = stop

    def judge(self, record: SweepRecord, number: int, before: int) -> str | None:
        now = record.trials[number].num_epochs
        for level in self._stop.rungs():
            if before < level <= now and not survives(record, self._stop, number, level):
                return f"below the best 1/{self._stop.reduction} at epoch {level}"
        return None


def survives(record: SweepRecord, stop: Stop, number: int, level: int) -> bool:
    """Whether trial `number` goes on from the rung at `level` epochs. The trial itself is among those compared."""
    rung = record.derived(Rung, level, stop.metric, stop.mode)
    value = rung.values.get(number)
    return value is not None and value >= _quantile(rung.sorted, 1 - 1 / stop.reduction)


def _quantile(ascending: Sequence[float], share: float) -> float:
    """What numpy.quantile says to the bit, without a look at all values."""
    at = (len(ascending) - 1) * share
    lower, higher = ascending[int(at)], ascending[min(int(at) + 1, len(ascending) - 1)]
    weight = at - int(at)
    return lower + (higher - lower) * weight if weight < 0.5 else higher - (higher - lower) * (1 - weight)
