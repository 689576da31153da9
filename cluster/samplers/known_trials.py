"""What a sampler looks at: the trials of the journal as Optuna's, kept level with it instead of made anew for each suggestion.

Of a sweep with more than NEWEST trials TPE looks at the newest, at its best (as it sorts them), and at all that run.
Those best are all that it models as good, whatever their number: the model of the good trials is that of all trials. Of
the others, which it gives the less weight the older they are, the oldest are left out, or a suggestion would take ever
longer.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, insort
from collections.abc import Container, Iterable
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fersweep.results.record.optuna_study import freeze
from fersweep.results.record.trial_record import Epochs, TrialRecord

NEWEST = 500  # ended and not failed
BEST = 25  # the most trials that TPE takes for good (optuna.samplers._tpe.sampler.default_gamma)

Key = tuple[float, float, float, int]


class KnownTrials:
    """Follows a record (results/record/ranking/derived.py). `history`: trials of older sweeps, which come before its own."""

    def __init__(self, metric: str, mode: str, history: Iterable[TrialRecord] = ()):
        self._metric, self._mode = metric, mode
        self._trials: dict[int, TrialRecord] = {}
        self._running: set[int] = set()
        self._keys: dict[int, Key] = {}  # of those that have ended and not failed
        self._order: list[Key] = []
        self._frozen: dict[int, tuple[Any, FrozenTrial]] = {}  # of those that were looked at last
        for trial in history:
            self.see(trial)

    def see(self, trial: TrialRecord) -> None:
        number = trial.number
        self._trials[number] = trial
        if trial.state == "running":
            self._running.add(number)
        else:
            self._running.discard(number)
        key, before = self._key(trial), self._keys.get(number)
        if key == before:
            return
        if before is not None:
            del self._keys[number], self._order[bisect_left(self._order, before)]
        if key is not None:
            self._keys[number] = key
            insort(self._order, key)

    def _key(self, trial: TrialRecord) -> Key | None:
        """Finished trials by their value, then stopped ones, those that came farther first, by their last value."""
        sign, values = (-1 if self._mode == "max" else 1), trial.epochs.column(self._metric)
        if trial.state == "stopped":
            last = values[-1] if values else 0.0
            return 1, -len(values), math.inf if math.isnan(last) else sign * last, trial.number
        value = trial.value(self._metric, self._mode) if trial.state == "finished" else None
        return None if value is None else (0, 0, sign * value, trial.number)

    def frozen(self) -> list[FrozenTrial]:
        """Those that a sampler looks at, in the order of their numbers."""
        chosen, num_newest = {key[-1] for key in self._order[:BEST]} | self._running, 0
        for number in reversed(self._trials):
            chosen.add(number)
            num_newest += number in self._keys
            if num_newest == NEWEST:
                break
        before, self._frozen = self._frozen, {}
        for number in sorted(chosen):
            trial = self._trials[number]
            version = trial.state, trial.ended_at
            known = before.get(number)
            self._frozen[number] = known if known and known[0] == version else (version, self._freeze(trial))
        return [frozen for _, frozen in self._frozen.values()]

    def _freeze(self, trial: TrialRecord) -> FrozenTrial:
        if trial.state == "running":  # what it has reached so far is nothing to any sampler
            trial = replace(trial, epochs=Epochs())
        frozen = freeze(trial, self._metric, self._mode)
        frozen.number = trial.number + 1 if trial.number >= 0 else trial.number  # 0 is the trial that is asked for
        return frozen


class KnownStorage(optuna.storages.InMemoryStorage):
    """The storage of a study that knows trials from elsewhere; only what is asked for is its own."""

    def __init__(self, known: list[FrozenTrial]):
        super().__init__()
        self._known = known

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        own = super().get_all_trials(study_id, deepcopy, states)
        known = self._known if states is None else (trial for trial in self._known if trial.state in states)
        return list(itertools.chain(known, own))
