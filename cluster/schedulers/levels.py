"""What trials have at evenly spaced epochs (or seconds): what the rules compare that look at many of them."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence

from fersweep.results.record.ranking.progress import crossed, takes_part
from fersweep.results.record.trial_record import TrialRecord


class Levels:
    """The values of trials at each of `levels`, kept level with a record (results/record/ranking/derived.py). A report
    costs as many steps as there are new levels in it, however many trials there are.

    `states`: of the trials that count; `averaged`: the mean of the finite values up to a level, instead of the value there.

    Attributes:
        values: for each level those that are finite, ascending; negative where the sweep minimises.
    """

    def __init__(
        self, levels: tuple[float, ...], metric: str, mode: str, unit: str, states: tuple[str, ...], averaged: bool
    ):
        self._levels, self._metric, self._unit, self._states = levels, metric, unit, states
        self._sign, self._averaged = 1.0 if mode == "max" else -1.0, averaged
        self.values: list[list[float]] = [[] for _ in levels]
        self._sorted: list[list[tuple[float, int]]] = [
            [] for _ in levels
        ]  # (value, −number): of equals, the earlier is better
        self._trials: dict[int, tuple[int, list[tuple[int, float]]]] = {}  # epochs seen, (level's index, value) of each

    @property
    def num_trials(self) -> int:
        return len(self._trials)

    def best(self, index: int) -> int | None:
        """The trial with the best value at a level; None: none has one."""
        return -self._sorted[index][-1][1] if self._sorted[index] else None

    def see(self, trial: TrialRecord) -> None:
        if trial.state not in self._states or not takes_part(trial):
            for index, value in self._trials.pop(trial.number, (0, []))[1]:
                del self._sorted[index][bisect_left(self._sorted[index], (value, -trial.number))]
                del self.values[index][bisect_left(self.values[index], value)]
            return
        before, values = self._trials.get(trial.number, (0, []))
        if trial.num_epochs > before:
            column = trial.epochs.column(self._metric)
            for index, _, count in crossed(trial, self._levels, self._unit, before):
                value = self._sign * (_mean(column[:count]) if self._averaged else column[count - 1])
                if math.isfinite(value):
                    values.append((index, value))
                    insort(self._sorted[index], (value, -trial.number))
                    insort(self.values[index], value)
        self._trials[trial.number] = trial.num_epochs, values


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
