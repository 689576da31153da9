"""Quasi-random numbers over the whole space, from the first trial on; Optuna's would take the space from the first that ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
from optuna.distributions import BaseDistribution

if TYPE_CHECKING:
    from fersweep.cluster.samplers.asked import Asked


class Qmc(optuna.samplers.QMCSampler):
    """A parameter that only some trials have takes part in all: what a trial has no use for is not used."""

    def __init__(self, asked: Asked):
        super().__init__(
            qmc_type=asked.options.qmc_type,
            scramble=asked.options.scramble,
            seed=asked.sweep_seed,
            independent_sampler=optuna.samplers.RandomSampler(seed=asked.seed),
            warn_independent_sampling=False,
        )
        space = {**asked.space, **asked.conditional}
        self._whole = {name: each for name, each in sorted(space.items()) if not each.single()}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._whole
