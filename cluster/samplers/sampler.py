"""What to try next: an Optuna sampler over the trials of the journal (known_trials.py), made anew for each suggestion.

A sampler keeps no state of its own and is seeded from (the sweep's seed, the trial's number), so a search that was
interrupted and resumed suggests as one that was not, given the same history.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.ranking.derived import Repeats
from fersweep.results.record.sweep_json import OlderTrial
from fersweep.results.record.trial_record import Epochs
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import NamedPoint, first_points, sample_space

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

    from fersweep.cluster.samplers.known_trials import KnownTrials


@dataclass(frozen=True)
class Suggestion:
    """A trial to try: its hparams, the Optuna parameters that they were made from, and the name of its point, if any."""

    hparams: dict[str, Any]
    params: dict[str, Any]
    distributions: Mapping[str, BaseDistribution]
    point: str | None


class Sampler:
    """Suggests trials of one sweep. `history`, `points`: of older sweeps (older_sweeps.py)."""

    def __init__(self, sweep: Sweep, history: Sequence[OlderTrial] = (), points: Sequence[NamedPoint] = ()):
        self.sweep = sweep
        self._points = first_points(sweep, points)
        self._history = [_as_record(trial, number - len(history)) for number, trial in enumerate(history)]

    def suggest(self, record: SweepRecord, number: int) -> Suggestion:
        """Trial `number`: the next of the first points, while there are any, else what the sampler draws."""
        study, name = self.study(record, seed=number), None
        searched = number - len(record.derived(Repeats).trials)  # trials of the search before it
        if searched < len(self._points):
            name, point = self._points[searched]
            study.enqueue_trial(point)
        trial = study.ask()
        return Suggestion(sample_space(self.sweep, trial), trial.params, trial.distributions, name)

    def study(self, record: SweepRecord, seed: int = 0) -> optuna.Study:
        """The journal as an Optuna study whose sampler is seeded from (the sweep's seed, `seed`).

        Trials of older sweeps come first. The states are those of results/record/optuna_study.py; the sampler avoids
        the points of trials that are RUNNING.
        """
        import optuna

        from fersweep.cluster.samplers.known_trials import KnownStorage

        seed = int(np.random.default_rng([self.sweep.search.seed, seed]).integers(2**31))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group
            sampler = (
                optuna.samplers.TPESampler(seed=seed, **self.sweep.search.sampler_options)
                if self.sweep.search.sampler == "tpe"
                else optuna.samplers.RandomSampler(seed=seed)
            )
        stop = self.sweep.stop
        known = record.derived(self._known_trials)
        return optuna.create_study(
            direction="maximize" if stop.mode == "max" else "minimize",
            sampler=sampler,
            storage=KnownStorage(known.frozen()),
        )

    def _known_trials(self) -> KnownTrials:
        from fersweep.cluster.samplers.known_trials import KnownTrials

        return KnownTrials(self.sweep.stop.metric, self.sweep.stop.mode, self._history)


def _as_record(trial: OlderTrial, number: int) -> TrialRecord:
    return TrialRecord(
        number=number,
        hparams={},
        params=trial.params,
        distributions=trial.distributions,
        epochs=Epochs(trial.epochs),
        state=trial.state,
    )
