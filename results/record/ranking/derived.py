"""What is asked of a sweep again and again while it runs, kept level with its record instead of worked out anew.

    record.derived(Ranking, Order("val_macro_f1", "max"))

Each of these is a function of the record: it is made from all trials when it is first asked for, and each event tells it
of the one trial that has changed (`SweepRecord.apply`). What it says of a trial depends on that trial as it is now, so
that it can never say anything else than what all trials at once would. Repeats of finalists are shown to those alone that
say so (SEES_REPEATS): samplers, rules and rankings are of the search.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from operator import itemgetter
from typing import Protocol

import numpy as np

from fersweep.results.record.ranking.order import Order
from fersweep.results.record.ranking.pareto import non_dominated_ranks
from fersweep.results.record.trial_record import TrialRecord

Key = tuple[bool, int, float, int]
"""Of a trial in a ranking: whether it breaks a constraint, its front, its loss by the first objective, its number."""


class Derived(Protocol):
    def see(self, trial: TrialRecord) -> None:
        """Take in a trial as it is now, in place of what it was."""


class Totals:
    """Attributes: num_epochs: of all trials; states: number of trials by state; running: those that have not ended."""

    SEES_REPEATS = True

    def __init__(self) -> None:
        self.num_epochs = 0
        self.states = Counter[str]()
        self.running: dict[int, TrialRecord] = {}
        self._seen: dict[int, tuple[str, int]] = {}

    def see(self, trial: TrialRecord) -> None:
        if before := self._seen.get(trial.number):
            self.states[before[0]] -= 1
            self.num_epochs -= before[1]
        self._seen[trial.number] = trial.state, trial.num_epochs
        self.states[trial.state] += 1
        self.num_epochs += trial.num_epochs
        if trial.state == "running":
            self.running[trial.number] = trial
        else:
            self.running.pop(trial.number, None)


class SearchTotals(Totals):
    """Of the search's trials, without the repeats of finalists."""

    SEES_REPEATS = False

    @property
    def num_trials(self) -> int:
        return self.states.total()

    @property
    def num_ended(self) -> int:
        return self.num_trials - len(self.running)


class Repeats:
    """`trials`: the repeats of finalists, by the number of the trial that each repeats, and its seed (from 1 on)."""

    SEES_REPEATS = True

    def __init__(self) -> None:
        self.trials: dict[tuple[int, int], TrialRecord] = {}

    def see(self, trial: TrialRecord) -> None:
        if trial.repeat_of is not None and trial.seed_index is not None:
            self.trials[trial.repeat_of, trial.seed_index] = trial


class Ranking:
    """Iterates over the trials that have a finite value and have not failed, best first, the earlier of equals first.

    Those that keep to all constraints come first. Of several objectives, those of the front, which no other beats in all of them,
    come before those that then are the front, and so on; within a front the first objective decides.
    """

    def __init__(self, order: Order):
        self._by = order
        self._keys: dict[int, Key] = {}
        self._order: list[tuple[Key, TrialRecord]] = []
        self._losses: dict[int, tuple[TrialRecord, bool, list[float]]] = {}  # of several objectives
        self._is_level = True  # of several objectives: whether the order is of the trials as they are now

    def see(self, trial: TrialRecord) -> None:
        number, losses = trial.number, None if trial.state == "failed" else self._by.losses(trial)
        known = None if losses is None else (trial, not self._by.is_feasible(trial), losses)
        if self._by.objectives:
            if known != self._losses.get(number):
                self._is_level = False
            if known is None:
                self._losses.pop(number, None)
            else:
                self._losses[number] = known
            return
        key, before = None if known is None else (known[1], 0, known[2][0], number), self._keys.get(number)
        if key == before:
            return
        if before is not None:
            del self._keys[number], self._order[bisect_left(self._order, before, key=itemgetter(0))]
        if key is not None:
            self._keys[number] = key
            insort(self._order, (key, trial), key=itemgetter(0))

    def place(self, trial: TrialRecord) -> Key:
        """What the trials are sorted by; those without a value come last."""
        self._level()
        return self._keys.get(trial.number, (True, 0, float("inf"), trial.number))

    def best(self) -> TrialRecord | None:
        """The first, where it keeps to all constraints."""
        self._level()
        return self._order[0][1] if self._order and not self._order[0][0][0] else None

    def front(self) -> list[TrialRecord]:
        """The trials that keep to all constraints, and that no other of these beats in all objectives, best first by the first
        objective; empty where there is only one objective.
        """
        self._level()
        return [trial for (is_broken, rank, *_), trial in self._order if not is_broken and rank == 0] * bool(
            self._by.objectives
        )

    def rank(self, trial: TrialRecord) -> int | None:
        """0 for trials of the front, 1 for those that are the front without these, …; None: of one objective, or infeasible."""
        self._level()
        key = self._keys.get(trial.number)
        return None if key is None or key[0] or not self._by.objectives else key[1]

    def _level(self) -> None:
        if self._is_level:
            return
        self._keys = {}
        for is_broken in (False, True):
            same = [(trial, losses) for trial, broken, losses in self._losses.values() if broken == is_broken]
            values = np.array([losses for _, losses in same])
            ranks: list[int] = non_dominated_ranks(values, ["min"] * len(self._by.objectives)).tolist() if same else []
            for (trial, losses), rank in zip(same, ranks, strict=True):
                self._keys[trial.number] = is_broken, rank, losses[0], trial.number
        self._order = sorted(((key, self._losses[number][0]) for number, key in self._keys.items()), key=itemgetter(0))
        self._is_level = True

    def __contains__(self, trial: TrialRecord) -> bool:
        self._level()
        return trial.number in self._keys

    def __iter__(self) -> Iterator[TrialRecord]:
        self._level()
        return (trial for _, trial in self._order)


class Ends:
    """`numbers`: the trials that have ended, or were reopened, in order; one may come several times."""

    SEES_REPEATS = True

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._ended_at: dict[int, float] = {}

    def see(self, trial: TrialRecord) -> None:
        if trial.ended_at != self._ended_at.get(trial.number):
            self.numbers.append(trial.number)
        if trial.ended_at is None:
            self._ended_at.pop(trial.number, None)
        else:
            self._ended_at[trial.number] = trial.ended_at
