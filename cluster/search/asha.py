"""ASHA: at each rung a trial goes on if it is among the best 1/reduction of those that have reached the rung.

Li et al. 2018, arXiv:1810.05934; asynchronous, by quantile as in Ray Tune and Syne Tune. A rung is a function of the
journal: the best value of each trial within its epochs.
"""

from __future__ import annotations

from array import array

import numpy as np

from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.trial_record import TrialRecord
from fersweep.search_spaces.sweep_file.schema import Stop


class Rung:
    """The trials that have reached `level` epochs, and their values there; kept level with a record (record/derived.py).

    Attributes:
        values: trial → best value within the first `level` epochs, negative where the sweep minimises; None: none is finite.
        finite: those that are not None.
    """

    def __init__(self, level: int, metric: str, mode: str):
        self._level, self._metric, self._mode = level, metric, mode
        self.values: dict[int, float | None] = {}
        self.finite = array("d")

    def see(self, trial: TrialRecord) -> None:
        if trial.num_epochs < self._level or trial.number in self.values:  # these epochs do not change any more
            return
        value = trial.value(self._metric, self._mode, self._level)
        if value is not None:
            value = value if self._mode == "max" else -value
            self.finite.append(value)
        self.values[trial.number] = value


def survives(record: SweepRecord, stop: Stop, number: int, level: int) -> bool:
    """Whether trial `number` goes on from the rung at `level` epochs. The trial itself is among those compared."""
    rung = record.derived(Rung, level, stop.metric, stop.mode)
    value = rung.values.get(number)
    return value is not None and bool(value >= np.quantile(np.array(rung.finite), 1 - 1 / stop.reduction))
