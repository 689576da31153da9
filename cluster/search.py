"""The search itself, without Ray: which trial comes next, and whether one goes on. Everything is read off the journal.

Samplers and ASHA keep no state of their own. Optuna's study is projected from the trials in the journal for each
suggestion (16 ms at 100 trials, most of it the sampler), and a rung is a look at what each trial had reached there.
So a search that was interrupted and resumed suggests and stops exactly as one that was not, given the same history.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.sweep import Sweep, point_params, sample_space
from results.journal import Journal, SweepRecord, TrialRecord

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Assignment:
    """What a worker is given: a trial, its hparams, and how many of its epochs the journal already knows."""

    trial: int
    hparams: dict[str, Any]
    known_epochs: int


class Search:
    """Decides for one sweep. `journal` is the only thing that it writes."""

    def __init__(self, sweep: Sweep, journal: Journal):
        self.sweep, self.journal = sweep, journal
        self._unfinished = [t.number for t in journal.record.trials.values() if t.state == "running"]
        self._frozen: dict[int, Any] = {}

    @property
    def record(self) -> SweepRecord:
        return self.journal.record

    def num_remaining(self) -> int:
        """Trials still to be handed out: new ones and those that an interrupted driver left running."""
        return self.sweep.search.num_trials - len(self.record.trials) + len(self._unfinished)

    def next(self) -> Assignment | None:
        """The next trial to run: first those left unfinished, then new ones; None when all are handed out."""
        if self._unfinished:
            trial = self.record.trials[self._unfinished.pop(0)]
            return Assignment(trial.number, trial.hparams, trial.num_epochs)
        number = len(self.record.trials)
        if number >= self.sweep.search.num_trials:
            return None
        hparams, asked, point = self._suggest(number)
        from optuna.distributions import distribution_to_json

        distributions = {name: distribution_to_json(d) for name, d in asked.distributions.items()}
        self.journal.append(
            "sampled", trial=number, hparams=hparams, params=asked.params, distributions=distributions, point=point
        )
        return Assignment(number, hparams, 0)

    def _suggest(self, number: int) -> tuple[dict[str, Any], optuna.Trial, str | None]:
        points = self.sweep.search.start_from
        study = self.study(seed=number)
        point = points[number] if number < len(points) else None
        if point is not None:
            study.enqueue_trial(point_params(self.sweep, point))
        asked = study.ask()
        return sample_space(self.sweep, asked), asked, point

    def study(self, seed: int = 0) -> optuna.Study:
        """The journal as an Optuna study whose sampler is seeded from (the sweep's seed, `seed`).

        Finished trials are COMPLETE with their best value, stopped ones PRUNED with their intermediate values, failed
        ones FAIL, running ones RUNNING, which the sampler keeps away from.
        """
        import optuna

        seed = int(np.random.default_rng([self.sweep.search.seed, seed]).integers(2**31))
        direction = "maximize" if self.sweep.stop.mode == "max" else "minimize"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group
            sampler = (
                optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
                if self.sweep.search.sampler == "tpe"
                else optuna.samplers.RandomSampler(seed=seed)
            )
        study = optuna.create_study(direction=direction, sampler=sampler)
        study.add_trials([self._frozen_trial(trial) for trial in self.record.trials.values()])
        return study

    def _frozen_trial(self, trial: TrialRecord) -> optuna.trial.FrozenTrial:
        if trial.number in self._frozen:
            return self._frozen[trial.number]
        from optuna.distributions import json_to_distribution
        from optuna.trial import TrialState, create_trial

        stop = self.sweep.stop
        value = trial.value(stop.metric, stop.mode)
        state = {
            "running": TrialState.RUNNING,
            "finished": TrialState.COMPLETE if value is not None else TrialState.FAIL,
            "stopped": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }[trial.state]
        frozen = create_trial(
            state=state,
            value=value if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
            params=trial.params,
            distributions={name: json_to_distribution(text) for name, text in trial.distributions.items()},
            intermediate_values={int(row["epoch"]): row[stop.metric] for row in trial.epochs},
        )
        if trial.state != "running":
            self._frozen[trial.number] = frozen
        return frozen

    def report(self, number: int, epochs: list[dict[str, float]], status: str, reason: str | None = None) -> bool:
        """Record what a trial trained; True if it ends here.

        Args:
            number: the trial.
            epochs: metrics of each epoch since its last report; may be empty.
            status: "running", or how the trial says that it ended: "finished", "failed".
            reason: of a failure or of an early end.
        """
        before = self.record.trials[number].num_epochs
        if epochs:
            self.journal.append("report", trial=number, epochs=epochs)
        if status == "running":
            now = self.record.trials[number].num_epochs
            lost_at = [
                level for level in self.sweep.stop.rungs() if before < level <= now and not self.survives(number, level)
            ]
            if not lost_at:
                return False
            status, reason = "stopped", f"below the best 1/{self.sweep.stop.reduction} at epoch {lost_at[0]}"
        self.journal.append("ended", trial=number, state=status, reason=reason)
        return True

    def rung(self, level: int) -> dict[int, float]:
        """Trial number → best value within `level` epochs, of every trial that reached that rung with a finite value."""
        metric, worst = self.sweep.stop.metric, -math.inf if self.sweep.stop.mode == "max" else math.inf
        better = max if self.sweep.stop.mode == "max" else min
        table = {}
        for trial in self.record.trials.values():
            if trial.num_epochs >= level:
                finite = [row[metric] for row in trial.epochs[:level] if math.isfinite(row[metric])]
                table[trial.number] = better(finite, default=worst)
        return {number: value for number, value in table.items() if math.isfinite(value)}

    def survives(self, number: int, level: int) -> bool:
        """ASHA's stopping rule (Li et al. 2018, arXiv:1810.05934; asynchronous, by quantile as in Ray Tune and Syne
        Tune): a trial goes on if it is among the best 1/reduction of those that have reached the rung, itself included.
        """
        table = self.rung(level)
        if number not in table:
            return False
        sign = 1 if self.sweep.stop.mode == "max" else -1
        cutoff = np.quantile([sign * value for value in table.values()], 1 - 1 / self.sweep.stop.reduction)
        return bool(sign * table[number] >= cutoff)
