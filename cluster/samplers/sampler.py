"""What to try next: an Optuna sampler over the trials of the journal (known_trials.py), made anew for each suggestion.

A sampler keeps no state of its own but what is in the journal, and is seeded from (the sweep's seed, the trial's number), so
a search that was interrupted and resumed suggests as one that was not, given the same history.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.cluster.samplers import custom
from fersweep.cluster.samplers.asked import Asked
from fersweep.cluster.samplers.registry import SAMPLERS
from fersweep.common.errors import InputError
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.optuna_study import Goal
from fersweep.results.record.ranking.derived import Repeats
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.sweep_json import OlderTrial
from fersweep.results.record.trial_record import Epochs
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import (
    CannotBeBuilt,
    NamedPoint,
    conditional,
    drawn_from,
    first_points,
    outside,
    sample_space,
)
from fersweep.search_spaces.sweep_file.sections.samplers import Grid, is_custom
from fersweep.search_spaces.sweep_file.sections.suitability import num_points, options_of

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

    from fersweep.cluster.samplers.cmaes import Optimizers
    from fersweep.cluster.samplers.known_trials import KnownTrials
    from fersweep.cluster.samplers.record_storage import RecordStorage


AGAIN = "; it may fail there again: a sweep with a mended one can learn from this one, search.start_from: {{sweep: {}}}"


@dataclass(frozen=True)
class Suggestion:
    """A trial to try: its hparams, the Optuna parameters that they were made from, the name of its point, if any, and what
    the sampler keeps for later ones.

    `refused`: why hparams of these parameters cannot be built; there are none then.
    """

    hparams: dict[str, Any]
    params: dict[str, Any]
    distributions: Mapping[str, BaseDistribution]
    point: str | None
    attrs: dict[str, Any] = field(default_factory=dict)
    refused: str | None = None


def check_custom(sweep: Sweep) -> None:
    """Load a sampler that is somebody's own, and let it suggest a trial that nobody runs. Raises InputError."""
    name = sweep.search.sampler
    if is_custom(name):
        custom.check(name, sweep.search.sampler_options)
        try:
            Sampler(sweep).suggest(SweepRecord(), len(first_points(sweep)))
        except RuntimeError as error:
            raise InputError(str(error)) from error


def goal_of(sweep: Sweep) -> Goal:
    """What the sweep's trials are judged by."""
    return order_of(sweep)


class Sampler:
    """Suggests trials of one sweep. `history`, `points`: of older sweeps (older_sweeps.py); `directory`: of the sweep, which
    has a copy of a sampler that is somebody's own (custom.py).
    """

    def __init__(
        self,
        sweep: Sweep,
        history: Sequence[OlderTrial] = (),
        points: Sequence[NamedPoint] = (),
        directory: Path | None = None,
    ):
        self.sweep = sweep
        self._points = first_points(sweep, points)
        self._history = [_as_record(trial, number - len(history)) for number, trial in enumerate(history)]
        self._options = options_of(sweep)
        self._row = SAMPLERS.get(sweep.search.sampler) or custom.row(sweep.search.sampler, directory)
        self._size = num_points(sweep)
        self.slow = self._row.slow
        copied = directory is not None and is_custom(sweep.search.sampler)
        self._after_failure = AGAIN.format(sweep.name) if copied else ""

    def exhausted(self, record: SweepRecord) -> bool:
        """Whether every point was handed out, of a sampler that has a number of them."""
        return self._size is not None and record.derived(self._visited).number >= self._size

    def suggest(self, record: SweepRecord, number: int) -> Suggestion:
        """Trial `number`: the next of the first points, while there are any, else what the sampler draws."""
        return self.begin(record, number)()

    def begin(self, record: SweepRecord, number: int) -> Callable[[], Suggestion]:
        """The same in two parts: what is returned may be called in another thread, while the record goes on."""
        from fersweep.cluster.samplers.record_storage import RecordStorage

        known = record.derived(self._known_trials)
        storage = RecordStorage(known, number, self.sweep.name)
        sampler = self._make(record, number, storage)
        ended = custom.to_be_told(known) if self._row.told else []
        searched = number - len(record.derived(Repeats).trials)  # trials of the search before it

        def finish() -> Suggestion:
            try:
                return self._draw(sampler, storage, searched, ended)
            except (Exception, SystemExit) as error:
                if isinstance(error, InputError) or str(error).startswith("space: "):
                    raise
                what = (str(error).strip().splitlines() or [""])[0]
                raise RuntimeError(
                    f"search.sampler {self.sweep.search.sampler} failed at trial {number}: {type(error).__name__}: {what}"
                    f"{self._after_failure}"
                ) from error

        return finish

    def _draw(
        self, sampler: optuna.samplers.BaseSampler, storage: RecordStorage, searched: int, ended: list[TrialRecord]
    ) -> Suggestion:
        study, name = _study(sampler, storage, self.sweep.name), None
        told = custom.tell(study, sampler, ended)
        if searched < len(self._points):
            name, point = self._points[searched]
            study.enqueue_trial(point)
        trial = study.ask()
        try:
            hparams, refused = sample_space(self.sweep, trial), None
        except CannotBeBuilt as error:
            hparams, refused = {}, str(error)
        if problem := outside(trial):
            raise ValueError(f"it suggests {problem}")
        attrs: dict[str, Any] = {}
        if self._row.shown(self._options).keeps:
            attrs = {part: written for part, written in {**storage.written, "told": told}.items() if written}
        return Suggestion(hparams, trial.params, trial.distributions, name, attrs, refused)

    def study(self, record: SweepRecord, seed: int = 0) -> optuna.Study:
        """The journal as an Optuna study whose sampler is seeded from (the sweep's seed, `seed`).

        Trials of older sweeps come first. The states are those of results/record/optuna_study.py, but for running trials that
        have reported, which TPE is shown as PRUNED; it avoids the points of those that are RUNNING.
        """
        from fersweep.cluster.samplers.record_storage import RecordStorage

        storage = RecordStorage(record.derived(self._known_trials), len(record.trials), self.sweep.name)
        return _study(self._make(record, seed, storage), storage, self.sweep.name)

    def _make(self, record: SweepRecord, number: int, storage: RecordStorage) -> optuna.samplers.BaseSampler:
        import optuna

        with warnings.catch_warnings():
            for kind in (optuna.exceptions.ExperimentalWarning, FutureWarning):  # of group, of gamma
                warnings.simplefilter("ignore", kind)
            return self._row.make(self._asked(record, number, storage))

    def _asked(self, record: SweepRecord, number: int, storage: RecordStorage) -> Asked:
        space, sometimes = drawn_from(self.sweep), conditional(self.sweep)

        def optimizers() -> Optimizers:
            from fersweep.cluster.samplers.cmaes import Optimizers

            return record.derived(Optimizers)

        return Asked(
            options=self._options,
            seed=self._seed(number),
            sweep_seed=self._seed(0),
            space={name: each for name, each in space.items() if name not in sometimes},
            conditional={name: space[name] for name in sometimes},
            storage=storage,
            optimizers=optimizers,
        )

    def _seed(self, number: int) -> int:
        return int(np.random.default_rng([self.sweep.search.seed, number]).integers(2**31))

    def _known_trials(self) -> KnownTrials:
        from fersweep.cluster.samplers.known_trials import KnownTrials

        return KnownTrials(goal_of(self.sweep), self._row.shown(self._options), self._history)

    def _visited(self) -> Visited:
        return Visited(isinstance(self._options, Grid), self._history)


class Visited:
    """The points that were tried, of a space that has a number of them (results/record/ranking/derived.py)."""

    def __init__(self, by_grid: bool, history: Sequence[TrialRecord]):
        self._by_grid = by_grid
        self._points = set[str]()
        for trial in history:
            self.see(trial)

    def see(self, trial: TrialRecord) -> None:
        if self._by_grid:
            point = trial.attrs.get("trial", {}).get("grid_id")
            if point is None:
                return
        else:
            point = trial.params
        self._points.add(json.dumps(point, sort_keys=True))

    @property
    def number(self) -> int:
        return len(self._points)


def _study(sampler: optuna.samplers.BaseSampler, storage: RecordStorage, name: str) -> optuna.Study:
    import optuna

    return optuna.load_study(study_name=name, storage=storage, sampler=sampler)


def _as_record(trial: OlderTrial, number: int) -> TrialRecord:
    return TrialRecord(
        number=number,
        hparams={},
        params=trial.params,
        distributions=trial.distributions,
        epochs=Epochs(trial.epochs),
        state=trial.state,
        costs=trial.costs,
    )
