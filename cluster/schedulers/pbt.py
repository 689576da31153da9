"""Population Based Training: at each rung the worst trials go on from copies of the best, with perturbed hparams.

Jaderberg et al. 2017, arXiv:1711.09846. A trial is compared by its value at that epoch with all that have reached it and have
not failed. One of the lowest `quantile` takes over the checkpoint that one of the highest had at the same epoch, so epochs
and learning rate schedules go on from where they are; and all its hparams, since the checkpoint is of their net. Of these
the ones that `perturb` names are changed. The choice is a function of the journal and of (sweep's seed, trial, epoch).

No trial ends here. Trials take turns where there are fewer places than trials: see `turn`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.trial_record import Hparams, TrialRecord
from fersweep.search_spaces.sweep_file import population
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import sample_space
from fersweep.search_spaces.sweep_file.sections import schedulers

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Exploit:
    """What a trial goes on with: the fields of the journal's event. `donor_epoch`: of the checkpoint."""

    at_epoch: int
    donor: int
    donor_epoch: int
    hparams: Hparams
    params: dict[str, Any]
    distributions: dict[str, str]


class Population:
    """What PBT decides for a sweep."""

    def __init__(self, sweep: Sweep):
        self._sweep = sweep
        self._options = schedulers.Pbt.model_validate(sweep.stop.scheduler_options)
        self._rungs = [int(rung) for rung in sweep.stop.rungs()]

    def turn(self, trial: TrialRecord | None) -> int:
        """Rungs that a trial has passed: those with the fewest have their turn first. None: one that is not sampled yet."""
        return 0 if trial is None else trial.num_epochs // self._options.interval

    def needed_rungs(self, record: SweepRecord, more: bool) -> list[int]:
        """Epochs whose checkpoints of any trial may still be copied to another one. `more`: trials are still to be sampled."""
        turns = [self.turn(trial) for trial in record.running.values()]
        if more:
            turns.append(self.turn(None))
        # of the rung that the last ones have passed, too: one that copies may be killed before it has a checkpoint
        return self._rungs[max(min(turns) - 1, 0) :] if turns else []

    def is_due(self, trial: TrialRecord) -> bool:
        """Whether a trial is at a rung at which it has not been compared yet."""
        return trial.num_epochs in self._rungs and trial.compared_at < trial.num_epochs

    def compared(self, record: SweepRecord, epoch: int) -> list[TrialRecord]:
        """The trials that have reached an epoch and have not failed, worst first, the later of equals first. Not those that
        ended there: once their sweep has ended, their checkpoints are kept no longer, and others may go on (`resume --max-epochs`).
        """
        sign = 1 if self._sweep.stop.mode == "max" else -1

        def value(trial: TrialRecord) -> float:
            at_epoch = trial.epochs.column(self._sweep.stop.metric)[epoch - 1]
            return sign * at_epoch if math.isfinite(at_epoch) else -math.inf

        reached = [
            trial
            for trial in record.trials.values()
            if trial.state != "failed" and trial.num_epochs >= epoch + (trial.state != "running")
        ]
        return sorted(reached, key=lambda trial: (value(trial), -trial.number))

    def exploit(self, record: SweepRecord, number: int) -> Exploit | None:
        """What trial `number`, which is at a rung, goes on with; None: with what it has."""
        epoch = record.trials[number].num_epochs
        ranked = self.compared(record, epoch)
        num = min(math.ceil(len(ranked) * self._options.quantile), len(ranked) // 2)
        if number not in [trial.number for trial in ranked[:num]]:
            return None
        rng = np.random.default_rng([self._sweep.search.seed, number, epoch])
        donor = ranked[len(ranked) - 1 - int(rng.integers(num))]
        before = donor.at(epoch)
        params = self._explored(before.params, before.distributions, rng)
        try:
            hparams = self._hparams(params)
        except ValueError:  # the perturbed point cannot be built
            params, hparams = before.params, before.hparams
        return Exploit(epoch, donor.number, epoch, hparams, params, before.distributions)

    def _hparams(self, params: dict[str, Any]) -> Hparams:
        from optuna.trial import FixedTrial

        return sample_space(self._sweep, FixedTrial(params))

    def _explored(
        self, params: dict[str, Any], distributions: dict[str, str], rng: np.random.Generator
    ) -> dict[str, Any]:
        """The donor's parameters with those of `perturb` changed, within what was searched. 0 means off, and stays: a net
        without dropout keeps no state of it.
        """
        import optuna
        from optuna.distributions import json_to_distribution

        options = self._options
        known = {name: json_to_distribution(text) for name, text in distributions.items()}
        chosen = {name: known[name] for name in population.perturbed(options.perturb, known) if params[name] != 0}
        sampler = optuna.samplers.RandomSampler(seed=int(rng.integers(2**31)))
        drawn = optuna.create_study(sampler=sampler).ask(chosen).params
        explored = dict(params)
        for name, distribution in chosen.items():
            anew, factor = rng.random() < options.resample, float(rng.choice(options.factors))
            explored[name] = (drawn[name] if anew else _times(params[name], factor, distribution)) or params[name]
        return explored


def _times(value: Any, factor: float, distribution: BaseDistribution) -> Any:
    """A number of a distribution times `factor`: the nearest number that the distribution has. Choices stay as they are."""
    from optuna.distributions import FloatDistribution, IntDistribution

    if not isinstance(distribution, (FloatDistribution, IntDistribution)):
        return value
    low, high, step = distribution.low, distribution.high, distribution.step
    scaled = value * factor
    if step is not None:
        scaled = low + round((scaled - low) / step) * step
    clipped = min(max(scaled, low), high)
    return int(clipped) if isinstance(distribution, IntDistribution) else float(clipped)
