"""What the sampler takes for a suggestion: more with every trial that it knows."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fersweep.cluster.samplers.sampler import Sampler, Suggestion
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.sweep_json import SweepJson
from fersweep.search_spaces.sweep_file.sections.suitability import expected_trials

MOST_EARLIER = 500  # trials with which a suggestion is timed
DRAWN = 10  # of them are drawn; the others are like these


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
    few, many = 1, max(min(expected_trials(sweep.asked) - 1, MOST_EARLIER), 1)

    def seconds(earlier: int) -> float:
        record, drawn = SweepRecord(), list[Suggestion]()
        for number in range(earlier):
            if number < DRAWN:
                drawn.append(sampler.suggest(record, number))
            begin(record, number, drawn[number % len(drawn)])
            _end(record, number, sweep.metric)
        sampler.suggest(record, earlier)  # what is done once is not counted
        start = time.perf_counter()
        sampler.suggest(record, earlier)
        return time.perf_counter() - start

    at_first = seconds(few)
    return Suggestions(at_first, max(seconds(many) - at_first, 0.0) / max(many - few, 1))


def begin(record: SweepRecord, number: int, suggestion: Suggestion) -> None:
    """Let a trial have been drawn, as a journal would say."""
    from optuna.distributions import distribution_to_json

    known = {"hparams": suggestion.hparams, "params": suggestion.params, "attrs": suggestion.attrs}
    distributions = {name: distribution_to_json(each) for name, each in suggestion.distributions.items()}
    record.apply({"event": "sampled", "time": 0.0, "trial": number, "distributions": distributions, **known})


def _end(record: SweepRecord, number: int, metric: str) -> None:
    """Let it have been trained."""
    row = {"epoch": 1, metric: number % 7 / 7}
    record.apply({"event": "report", "time": 0.0, "trial": number, "epochs": [row]})
    record.apply({"event": "ended", "time": 0.0, "trial": number, "state": "finished"})
