"""What a sampler looks at: the trials of the journal as Optuna's, kept level with it instead of made anew for each suggestion.

Of a sweep with more than `newest` trials TPE looks at the newest, at its best (as it sorts them), and at all that run.
Those best are all that it models as good, whatever their number: the model of the good trials is that of all trials. Of
the others, which it gives the less weight the older they are, the oldest are left out, or a suggestion would take ever
longer.

A running trial that has reported is shown to TPE as if it were stopped now. What has ended first is what was bad: of many trials at
once TPE would else know the bad ones alone, and take the good ones, which run on, for bad (docs/explanation/decisions/search.md).

What a sampler wrote into attributes is in the journal, too (`sampled`: `attrs`), and here as those events left it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from optuna.trial import FrozenTrial

from fersweep.cluster.samplers.asked import Shown
from fersweep.results.record.optuna_study import Goal, frozen
from fersweep.results.record.trial_record import Epochs, TrialRecord

USER = "user:"  # begins the names of user attributes; others are system attributes

Key = tuple[float, float, float, int]
Attrs = dict[str, Any]


class KnownTrials:
    """Follows a record (results/record/ranking/derived.py). `history`: trials of older sweeps, which come before its own.

    Attributes:
        study_attrs: what the sampler keeps of the study.
        told: trial → at which of its ends the sampler was told of it.
        ended: the trials that have ended.
    """

    def __init__(self, goal: Goal, shown: Shown, history: Iterable[TrialRecord] = ()):
        self.goal, self._shown = goal, shown
        self.study_attrs: Attrs = {}
        self.told: dict[int, int] = {}
        self.ended: dict[int, TrialRecord] = {}
        self._trials: dict[int, TrialRecord] = {}
        self._attrs: dict[int, Attrs] = {}
        self._written: dict[int, int] = {}  # how often its attributes were
        self._running: set[int] = set()
        self._keys: dict[int, Key] = {}  # of those that have ended and not failed
        self._order: list[Key] = []
        self._frozen: dict[int, tuple[Any, FrozenTrial]] = {}  # of those that were looked at last
        self._all: list[FrozenTrial] = []
        self._places: dict[int, int] = {}  # in that list
        self._changed: dict[int, None] = {}  # since that list was made
        for trial in history:
            self.see(trial)

    def see(self, trial: TrialRecord) -> None:
        number = trial.number
        if number not in self._trials:
            self._keep(trial)
        self._trials[number] = trial
        if trial.state == "running":
            self._running.add(number)
            self.ended.pop(number, None)
        else:
            self._running.discard(number)
            self.ended[number] = trial
        self._changed[number] = None
        if self._shown.newest is not None:
            self._sort(trial)

    def _keep(self, trial: TrialRecord) -> None:
        """What the sampler wrote when it drew this trial."""
        attrs = trial.attrs
        if not self._shown.keeps or not attrs:
            return
        self.study_attrs |= attrs.get("study", {})
        self.told.update({int(number): count for number, count in attrs.get("told", {}).items()})
        others: dict[str, Attrs] = attrs.get("trials", {})
        for number, written in [(trial.number, attrs.get("trial", {})), *((int(n), w) for n, w in others.items())]:
            self._attrs[number] = {**self._attrs.get(number, {}), **written}
            self._written[number] = self._written.get(number, 0) + 1
            self._changed[number] = None

    def _sort(self, trial: TrialRecord) -> None:
        number = trial.number
        key, before = self._key(trial), self._keys.get(number)
        if key == before:
            return
        if before is not None:
            del self._keys[number], self._order[bisect_left(self._order, before)]
        if key is not None:
            self._keys[number] = key
            insort(self._order, key)

    def _key(self, trial: TrialRecord) -> Key | None:
        """Finished trials by their (first) value, then stopped ones, those that came farther first, by their last value."""
        if trial.state in ("running", "failed"):
            return None
        sign = -1 if self.goal.directions[0] == "maximize" else 1
        if trial.state == "stopped" and not self._judges_stopped:
            curve = self.goal.curve(trial)
            last = curve[-1] if curve else 0.0
            return 1, -len(curve), math.inf if math.isnan(last) else sign * last, trial.number
        values = self.goal.values(trial)
        return None if values is None else (0, 0, sign * values[0], trial.number)

    @property
    def _judges_stopped(self) -> bool:
        """Of several objectives Optuna cannot rank what was stopped."""
        return self._shown.judge_stopped or len(self.goal.directions) > 1

    def frozen(self) -> list[FrozenTrial]:
        """Those that a sampler looks at, in the order of their numbers. Nobody changes them."""
        newest = self._shown.newest
        if newest is None:
            return self._all_frozen()
        if newest == 0:
            return []
        chosen, num_newest = {key[-1] for key in self._order[: self._shown.best]} | self._running, 0
        for number in reversed(self._trials):
            chosen.add(number)
            num_newest += number in self._keys
            if num_newest == newest:
                break
        before, self._frozen = self._frozen, {}
        for number in sorted(chosen):
            self._frozen[number] = self._as_optunas(number, before.get(number))
        return [trial for _, trial in self._frozen.values()]

    def _all_frozen(self) -> list[FrozenTrial]:
        for number in self._changed.keys() & self._trials.keys():
            before = self._frozen.get(number)
            now = self._frozen[number] = self._as_optunas(number, before)
            if now is before:
                continue
            if number in self._places:
                self._all[self._places[number]] = now[1]
        for number in [number for number in self._changed if number in self._trials and number not in self._places]:
            self._places[number] = len(self._all)
            self._all.append(self._frozen[number][1])
        self._changed.clear()
        return self._all.copy()

    def _as_optunas(self, number: int, before: tuple[Any, FrozenTrial] | None) -> tuple[Any, FrozenTrial]:
        trial = self._trials[number]
        reported = trial.num_epochs if self._judges_running(trial) else 0
        version = trial.state, trial.ended_at, trial.ends, reported, self._written.get(number, 0)
        return before if before and before[0] == version else (version, self._freeze(trial))

    def _judges_running(self, trial: TrialRecord) -> bool:
        """Whether a running trial is shown as if it had been stopped now."""
        asked = self._shown.judge_running and len(self.goal.directions) == 1
        return asked and trial.state == "running" and trial.num_epochs > 0

    def _freeze(self, trial: TrialRecord) -> FrozenTrial:
        if self._judges_running(trial):
            trial = replace(trial, state="stopped")
        elif trial.state == "running":  # what it has reached so far is nothing to other samplers
            trial = replace(trial, epochs=Epochs())
        made = frozen(trial, self.goal, self._judges_stopped, self._shown.curves and len(self.goal.directions) == 1)
        kept = self._attrs.get(trial.number, {})
        return FrozenTrial(
            number=trial.number,
            trial_id=trial.number,
            state=made.state,
            value=None,
            values=cast("list[float] | None", made.values),
            datetime_start=made.datetime_start,
            datetime_complete=made.datetime_complete,
            params=made.params,
            distributions=made.distributions,
            user_attrs={name.removeprefix(USER): value for name, value in kept.items() if name.startswith(USER)},
            system_attrs={
                **made.system_attrs,
                **{name: value for name, value in kept.items() if not name.startswith(USER)},
            },
            intermediate_values=made.intermediate_values,
        )
