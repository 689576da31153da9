"""What the sampler takes for a suggestion: more with every trial that it knows."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fersweep.cluster.search.sampler import Sampler, Suggestion
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.record.trial_record import Epochs

MOST_EARLIER = 500  # trials with which a suggestion is timed


@dataclass(frozen=True)
class Suggestions:
    """Seconds of a suggestion: `base_s`, and `trial_s` for each trial that there is already."""

    base_s: float
    trial_s: float

    def of(self, number: int) -> float:
        return self.base_s + self.trial_s * number


def time_suggestions(sweep: SweepJson) -> Suggestions:
    """What the sampler takes for a suggestion, timed with few earlier trials and with as many as the sweep will have."""
    sampler = Sampler(sweep.asked, sweep.history, sweep.older_points)
    few, many = 1, min(sweep.asked.search.num_trials, MOST_EARLIER)
    drawn = [sampler.suggest(SweepRecord(), number) for number in range(min(many, 10))]

    def seconds(earlier: int) -> float:
        trials = {number: _ended(number, drawn[number % len(drawn)], sweep.metric) for number in range(earlier)}
        sampler.suggest(SweepRecord(trials=trials), earlier)  # what is done once is not counted
        start = time.perf_counter()
        sampler.suggest(SweepRecord(trials=trials), earlier)
        return time.perf_counter() - start

    at_first = seconds(few)
    return Suggestions(at_first, max(seconds(many) - at_first, 0.0) / max(many - few, 1))


def _ended(number: int, suggestion: Suggestion, metric: str) -> TrialRecord:
    from optuna.distributions import distribution_to_json

    return TrialRecord(
        number,
        suggestion.hparams,
        params=suggestion.params,
        distributions={name: distribution_to_json(each) for name, each in suggestion.distributions.items()},
        epochs=Epochs([{"epoch": 1, metric: number % 7 / 7}]),
        state="finished",
    )
