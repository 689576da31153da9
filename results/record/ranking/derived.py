"""What is asked of a sweep again and again while it runs, kept level with its record instead of worked out anew.

    record.derived(Ranking, "val_macro_f1", "max")

Each of these is a function of the record: it is made from all trials when it is first asked for, and each event tells it
of the one trial that has changed (`SweepRecord.apply`). What it says of a trial depends on that trial as it is now, so
that it can never say anything else than what all trials at once would. Repeats of finalists are shown to those alone that
say so (SEES_REPEATS): samplers, rules and rankings are of the search.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from fersweep.results.record.trial_record import TrialRecord


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
    """Iterates over the trials that have a finite value and have not failed, best first, the earlier of equals first."""

    def __init__(self, metric: str, mode: str):
        self._metric, self._mode, self._sign = metric, mode, -1 if mode == "max" else 1
        self._keys: dict[int, tuple[float, int]] = {}
        self._order: list[tuple[float, int, TrialRecord]] = []

    def see(self, trial: TrialRecord) -> None:
        value = None if trial.state == "failed" else trial.value(self._metric, self._mode)
        key = None if value is None else (self._sign * value, trial.number)
        before = self._keys.get(trial.number)
        if key == before:
            return
        if before is not None:
            del self._keys[trial.number], self._order[bisect_left(self._order, before)]
        if key is not None:
            self._keys[trial.number] = key
            insort(self._order, (*key, trial))

    def place(self, trial: TrialRecord) -> tuple[float, int]:
        """What the trials are sorted by; those without a value come last."""
        return self._keys.get(trial.number, (float("inf"), trial.number))

    def __contains__(self, trial: TrialRecord) -> bool:
        return trial.number in self._keys

    def __iter__(self) -> Iterator[TrialRecord]:
        return (trial for _, _, trial in self._order)


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
