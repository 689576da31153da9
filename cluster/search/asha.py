"""ASHA: at each rung a trial goes on if it is among the best 1/reduction of those that have reached the rung.

Li et al. 2018, arXiv:1810.05934; asynchronous, by quantile as in Ray Tune and Syne Tune. It keeps no state: a rung is
computed from what each trial of the journal had reached there.
"""

from __future__ import annotations

import math

import numpy as np

from fersweep.results.record.journal import SweepRecord
from fersweep.search_spaces.sweep_file.schema import Stop


def rung(record: SweepRecord, stop: Stop, level: int) -> dict[int, float]:
    """Trial number → best value within `level` epochs, of every trial that reached that rung with a finite value."""
    better, worst = (max, -math.inf) if stop.mode == "max" else (min, math.inf)
    table: dict[int, float] = {}
    for trial in record.trials.values():
        if trial.num_epochs >= level:
            finite = [row[stop.metric] for row in trial.epochs[:level] if math.isfinite(row[stop.metric])]
            table[trial.number] = better(finite, default=worst)
    return {number: value for number, value in table.items() if math.isfinite(value)}


def survives(record: SweepRecord, stop: Stop, number: int, level: int) -> bool:
    """Whether trial `number` goes on from the rung at `level` epochs. The trial itself is among those compared."""
    table = rung(record, stop, level)
    if number not in table:
        return False
    sign = 1 if stop.mode == "max" else -1
    cutoff = np.quantile([sign * value for value in table.values()], 1 - 1 / stop.reduction)
    return bool(sign * table[number] >= cutoff)
