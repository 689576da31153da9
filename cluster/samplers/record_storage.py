"""The journal as a storage of Optuna's: a study whose trials are those of the sweep, under their own numbers.

A sampler reads it while it draws one trial, which is there under its own number. What the sampler writes meanwhile, into
the attributes of the study, of this trial or of others, changes nothing but what it reads itself; `written` collects it
for the `sampled` event, from which it comes back (known_trials.py).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Sequence
from datetime import datetime
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fersweep.cluster.samplers.known_trials import USER, Attrs, KnownTrials
from fersweep.common.errors import InputError
from fersweep.common.untrusted import parse_json

STUDY = 0  # its id


class RecordStorage(optuna.storages.BaseStorage):
    """For one suggestion. `number`: of the trial that is asked for.

    Attributes: written: {"study": …, "trial": …, "trials": {number: …}}, JSON alone.
    """

    def __init__(self, known: KnownTrials, number: int, name: str):
        self._directions = [StudyDirection[direction.upper()] for direction in known.goal.directions]
        self._trials = known.frozen()
        self._study_attrs = dict(known.study_attrs)
        self._number, self._name = number, name
        self._places: dict[int, int] | None = None  # trial → place in the list
        self._taken = False  # whether the trial that is asked for was made
        self.written: dict[str, dict[str, Any]] = {"study": {}, "trial": {}, "trials": {}}

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        raise NotImplementedError("the study is the sweep's")

    def delete_study(self, study_id: int) -> None:
        raise NotImplementedError("the study is the sweep's")

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write_of_study(USER + key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._write_of_study(key, value)

    def _write_of_study(self, key: str, value: Any) -> None:
        self._study_attrs[key] = self.written["study"][key] = _as_json(key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return STUDY

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._directions

    def get_study_user_attrs(self, study_id: int) -> Attrs:
        return {key.removeprefix(USER): value for key, value in self._study_attrs.items() if key.startswith(USER)}

    def get_study_system_attrs(self, study_id: int) -> Attrs:
        return {key: value for key, value in self._study_attrs.items() if not key.startswith(USER)}

    def get_all_studies(self) -> list[Any]:
        return []

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if self._taken:
            raise NotImplementedError("a sampler is asked for one trial at a time")
        self._taken = True
        waiting = template_trial is not None
        self._trials.append(
            FrozenTrial(
                number=self._number,
                trial_id=self._number,
                state=TrialState.WAITING if waiting else TrialState.RUNNING,
                value=None,
                datetime_start=None if waiting else datetime.now(),
                datetime_complete=None,
                params={},
                distributions={},
                user_attrs=template_trial.user_attrs if waiting else {},
                system_attrs=template_trial.system_attrs if waiting else {},
                intermediate_values={},
            )
        )
        if self._places is not None:
            self._places[self._number] = len(self._trials) - 1
        return self._number

    def _place(self, trial_id: int) -> int:
        if self._trials and self._trials[-1].number == trial_id:
            return len(self._trials) - 1
        if self._places is None:
            self._places = {trial.number: place for place, trial in enumerate(self._trials)}
        if trial_id not in self._places:
            raise KeyError(f"no trial {trial_id}")
        return self._places[trial_id]

    def _replaced(self, trial_id: int) -> FrozenTrial:
        """A copy of a trial, in its place: it may be changed."""
        place = self._place(trial_id)
        self._trials[place] = trial = copy.copy(self._trials[place])
        return trial

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        trial = self._replaced(trial_id)
        trial.params = {**trial.params, param_name: distribution.to_external_repr(param_value_internal)}
        trial.distributions = {**trial.distributions, param_name: distribution}

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self._trials[self._place(trial_number)].number

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        trial = self._replaced(trial_id)
        if state == TrialState.RUNNING and trial.state != TrialState.WAITING:
            return False
        trial.state, trial.datetime_start = state, datetime.now()
        return True

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        raise NotImplementedError("a sampler reports no values")

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._replaced(trial_id)
        trial.user_attrs = {**trial.user_attrs, key: self._write_of_trial(trial_id, USER + key, value)}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._replaced(trial_id)
        trial.system_attrs = {**trial.system_attrs, key: self._write_of_trial(trial_id, key, value)}

    def _write_of_trial(self, trial_id: int, key: str, value: Any) -> Any:
        value = _as_json(key, value)
        if trial_id == self._number:
            self.written["trial"][key] = value
        else:
            self.written["trials"].setdefault(str(trial_id), {})[key] = value
        return value

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._trials[self._place(trial_id)]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = [trial for trial in self._trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials


def _as_json(key: str, value: Any) -> Any:
    """A value as it will be read from the journal. Raises InputError where it is no JSON."""
    try:
        event = {"attrs": {"trials": {"0": {key: value}}}}
        return cast("Any", parse_json(json.dumps(event).encode()))["attrs"]["trials"]["0"][key]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"search.sampler: it keeps {key!r}, which a journal cannot hold: {error}; want numbers, text, lists and mappings"
        ) from None
