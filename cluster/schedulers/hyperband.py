"""Asynchronous Hyperband: brackets of ASHA that begin to compare at later and later rungs.

Li et al. 2018, arXiv:1603.06560; asynchronous as in Li et al. 2018, arXiv:1810.05934, section 3.2. Each bracket compares its own
trials alone. Its share of the trials is that of the paper's Algorithm 1, where B brackets begin at grace · reduction^b:
the b-th has ceil(B · reduction^s / (s + 1)) of them, s = B − 1 − b.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import accumulate

from fersweep.cluster.schedulers.asha import Rung
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.ranking.progress import crossed
from fersweep.results.record.trial_record import TrialRecord
from fersweep.search_spaces.sweep_file.schema import Stop
from fersweep.search_spaces.sweep_file.sections import schedulers

GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples, without their whole parts, fill [0, 1) evenly however many they are


@lru_cache
def shares(brackets: int, reduction: int) -> tuple[int, ...]:
    """How many trials of each bracket there are in one round of all; the first bracket, with the earliest rungs, has most."""
    return tuple(math.ceil(brackets * reduction**s / (s + 1)) for s in range(brackets - 1, -1, -1))


def bracket_of(number: int, brackets: int, reduction: int) -> int:
    """The bracket of trial `number`, from 0: of any trials in a row each bracket has about its share."""
    parts = shares(brackets, reduction)
    at = number * GOLDEN % 1 * sum(parts)
    return next((bracket for bracket, until in enumerate(accumulate(parts)) if at < until), brackets - 1)


class BracketRung(Rung):
    """A rung of one bracket: the trials of others are not seen."""

    def __init__(self, level: float, metric: str, mode: str, unit: str, bracket: int, brackets: int, reduction: int):
        super().__init__(level, metric, mode, unit)
        self._bracket, self._brackets, self._reduction = bracket, brackets, reduction

    def see(self, trial: TrialRecord) -> None:
        if bracket_of(trial.number, self._brackets, self._reduction) == self._bracket:
            super().see(trial)


class Hyperband:
    """A trial ends at a rung of its bracket where it is not among the bracket's best 1/reduction."""

    def __init__(self, stop: Stop):
        self._stop = stop
        self._brackets = schedulers.Hyperband(**stop.scheduler_options).brackets or 1

    def judge(self, record: SweepRecord, number: int, before: int) -> str | None:
        stop, brackets = self._stop, self._brackets
        bracket = bracket_of(number, brackets, stop.reduction)
        for _, level, _ in crossed(record.trials[number], stop.rungs()[bracket:], stop.unit, before):
            of_bracket = bracket, brackets, stop.reduction
            rung = record.derived(BracketRung, level, stop.metric, stop.mode, stop.unit, *of_bracket)
            if not rung.survives(number, stop.reduction):
                needed = rung.needed(stop.reduction)
                return f"below the best 1/{stop.reduction} of bracket {bracket}{needed} at {stop.at(level)}"
        return None
