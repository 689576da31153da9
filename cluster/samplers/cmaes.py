"""CMA-ES on the `cmaes` package, whose whole state is in the journal as numbers: Optuna's keeps a pickled optimizer there.

Hansen 2016, arXiv:1604.00772; with margin for whole numbers: Hamano et al. 2022, arXiv:2205.13482. Each trial carries the
generation that it was drawn in. Once population_size trials of a generation have ended with a value, the first of them by
number are told to the optimizer, and a new generation begins (as in Optuna's, so that trials can run side by side). What was
told is an attribute of the study: the optimizer is made anew from it, and kept for the next suggestion.
"""

# cmaes has types of its own, but numpy's are not all known.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cmaes
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fersweep.cluster.samplers.record_storage import STUDY
from fersweep.results.record.trial_record import TrialRecord

if TYPE_CHECKING:
    from fersweep.cluster.samplers.asked import Asked

GENERATION, POINT, TOLD = "cmaes:generation", "cmaes:point", "cmaes:told:"
Optimizer = cmaes.CMA | cmaes.CMAwM
Told = dict[str, list[Any]]  # points: in the unit cube; losses: of each


class Axis:
    """A number's way between its distribution and [0, 1], on its scale; steps have equal shares of it. `step`: its share."""

    def __init__(self, distribution: Any, in_steps: bool):
        self._distribution = distribution
        whole = isinstance(distribution, IntDistribution)
        step = float(distribution.step or 0.0)
        half = 0.0 if in_steps and not distribution.log else step / 2
        self._low, self._high = self._scaled(distribution.low - half), self._scaled(distribution.high + half)
        self._whole, self._size = whole, step
        self.step = step / (self._high - self._low) if in_steps and not distribution.log else 0.0

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._distribution.log else float(value)

    def to_unit(self, value: float) -> float:
        return (self._scaled(value) - self._low) / (self._high - self._low)

    def from_unit(self, share: float) -> int | float:
        low, high = self._distribution.low, self._distribution.high
        value = self._low + share * (self._high - self._low)
        value = math.exp(value) if self._distribution.log else value
        if self._size:
            value = low + round((value - low) / self._size) * self._size
        value = min(max(value, low), high)
        return int(value) if self._whole else float(value)


class Optimizers:
    """The optimizer of a record's newest generation, so that it is not made anew each time (results/record/ranking/derived.py).
    It depends on what it was told alone.
    """

    def __init__(self) -> None:
        self._told: list[Told] = []
        self._optimizer: Optimizer | None = None

    def see(self, trial: TrialRecord) -> None:
        pass

    def after(self, told: list[Told], new: Callable[[], Optimizer]) -> Optimizer:
        """The one that was told all this; `new()`: one that was told nothing."""
        optimizer = self._optimizer
        if optimizer is None or self._told != told[: len(self._told)]:
            self._told, self._optimizer = [], (optimizer := new())
        for generation in told[len(self._told) :]:
            points = [np.array(point, dtype=float) for point in generation["points"]]
            optimizer.tell(list(zip(points, generation["losses"], strict=True)))
            self._told.append(generation)
        return optimizer


class CmaEs(optuna.samplers.BaseSampler):
    """Searches the numbers that every trial has; the others are drawn at random."""

    def __init__(self, asked: Asked):
        self._asked, self._storage, self._options = asked, asked.storage, asked.options
        self._random = optuna.samplers.RandomSampler(seed=asked.seed)
        self._space = {
            name: each
            for name, each in sorted(asked.space.items())
            if not isinstance(each, CategoricalDistribution) and not each.single()
        }
        self._axes = {name: Axis(each, self._options.with_margin) for name, each in self._space.items()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        kept, told = self._storage.get_study_system_attrs(STUDY), list[Told]()
        while (generation := kept.get(f"{TOLD}{len(told)}")) is not None:
            told.append(generation)
        optimizers = self._asked.optimizers()
        optimizer = optimizers.after(told, self._new)
        ended = self._ended(study, len(told))
        if len(ended) >= optimizer.population_size:
            now = self._to_tell(study, ended[: optimizer.population_size])
            self._storage.set_study_system_attr(STUDY, f"{TOLD}{len(told)}", now)
            told.append(now)
            optimizer = optimizers.after(told, self._new)
        optimizer.reseed_rng(self._asked.seed)
        answer = optimizer.ask()
        point, raw = answer if isinstance(answer, tuple) else (answer, answer)
        self._storage.set_trial_system_attr(trial.number, GENERATION, len(told))
        if self._options.with_margin:
            self._storage.set_trial_system_attr(trial.number, POINT, raw.tolist())
        return {
            name: axis.from_unit(float(share)) for (name, axis), share in zip(self._axes.items(), point, strict=True)
        }

    def _new(self) -> Optimizer:
        number, seed = len(self._axes), self._asked.sweep_seed
        given: dict[str, Any] = {
            "mean": np.full(number, 0.5),
            "sigma": self._options.sigma0,
            "bounds": np.tile([0.0, 1.0], (number, 1)),
            "n_max_resampling": 10 * number,
            "seed": seed,
            "population_size": self._options.popsize,
        }
        if self._options.with_margin:
            return cmaes.CMAwM(steps=np.array([axis.step for axis in self._axes.values()]), **given)
        return cmaes.CMA(**given)

    def _ended(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The trials of a generation that have a value, in the order of their numbers."""
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [trial for trial in trials if trial.system_attrs.get(GENERATION) == generation]

    def _to_tell(self, study: optuna.Study, trials: list[FrozenTrial]) -> Told:
        sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
        points = [
            trial.system_attrs[POINT]
            if self._options.with_margin
            else [axis.to_unit(trial.params[name]) for name, axis in self._axes.items()]
            for trial in trials
        ]
        return {"points": points, "losses": [sign * float(trial.values[0]) for trial in trials]}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)
