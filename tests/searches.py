"""Searches without a driver: a journal in memory, made-up curves, a sweep for every scheduler."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.cluster.search.decisions import Search
from fersweep.results.record.events import parse_event
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.sweep_json import OlderTrial
from fersweep.search_spaces.sweep_file.schema import Stop, Sweep
from fersweep.trainables.curve import Curve, Hparams
from fersweep.trainables.metrics import fold_metric
from tests.cluster.test_search import make_sweep

METRIC, FOLDS = "val_macro_f1", 5
SECONDS = {"unit": "seconds", "grace_s": 2.0, "grace_epochs": None, "max_s": 12.0}
CASES: dict[str, dict[str, Any]] = {
    "asha": {"scheduler": "asha"},
    "asha, seconds": {"scheduler": "asha", **SECONDS},
    "hyperband": {"scheduler": "hyperband"},
    "hyperband, seconds": {"scheduler": "hyperband", **SECONDS},
    "median": {"scheduler": "median", "scheduler_options": {"startup_trials": 3}},
    "median, seconds": {"scheduler": "median", "scheduler_options": {"startup_trials": 3, "interval": 1.5}, **SECONDS},
    "percentile": {"scheduler": "percentile", "scheduler_options": {"startup_trials": 3, "against": "values"}},
    "patient": {"scheduler": "patient", "scheduler_options": {"patience": 3, "min_delta": 0.03}},
    "patient median": {
        "scheduler": "patient",
        "scheduler_options": {
            "patience": 2,
            "min_delta": 0.05,
            "inner": "median",
            "inner_options": {"startup_trials": 2},
        },
    },
    "wilcoxon": {"scheduler": "wilcoxon"},
    "none": {"scheduler": "none"},
}
DRAWN = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 0.5, "log": true}}'
HISTORY = [  # imported trials, which no rule looks at
    OlderTrial(
        sweep="old",
        params={"rate": 0.1 * number},
        distributions={"rate": DRAWN},
        epochs=[{"epoch": epoch, METRIC: 0.99} for epoch in range(1, 10)],
        state="finished",
    )
    for number in (1, 2)
]


class Memory:
    """A journal that is not on a disk: what is written has gone through JSON."""

    path = Path("nowhere/journal.jsonl")

    def __init__(self, events: Sequence[dict[str, Any]] = ()):
        self.record, self.events = SweepRecord(), list(events)
        for event in events:
            self.record.apply(event)

    def forget(self) -> None:
        """All that a process knows beside what it can read."""
        self.record = SweepRecord(self.record.trials, unjudged=self.record.unjudged)

    def append(self, event: str, **fields: Any) -> None:
        entry = {"event": event, "time": float(len(self.events)), **fields}
        self.events.append(parse_event(json.dumps(entry).encode()))
        self.record.apply(self.events[-1])


def search_of(sweep: Sweep, events: Sequence[dict[str, Any]] = ()) -> Search:
    return Search(sweep, Memory(events), HISTORY)  # type: ignore[arg-type]


def decided(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key not in ("time", "suggest_s")} for event in events]


def trained(curve: Curve, number: int) -> list[dict[str, float]]:
    """Its next epoch, with times of its own and folds; now and then there is no number."""
    row: dict[str, float] = {**curve.fit(1)[0]}
    row["epoch_s"] = 0.4 + 0.3 * (number % 4)
    rng = np.random.default_rng([number, curve.epoch])
    row |= {fold_metric(METRIC, fold): row[METRIC] + float(rng.normal(0, 0.02)) for fold in range(FOLDS)}
    return [row | {METRIC: math.nan} if number % 5 == 3 and curve.epoch in (2, 3) else row]


def drive_many(search: Search, at_once: int) -> None:
    """Run trials in turns, an epoch a report: every 7th breaks off once, every 9th fails, and in the middle of the search a
    trial that failed and one that finished run once more.
    """
    curves: dict[int, Curve] = {}
    stop, record, reopened = search.sweep.stop, search.record, False
    while True:
        if record.num_ended >= 20 and not reopened:
            reopened = True
            for state in ("failed", "finished"):
                number = next((n for n, trial in record.trials.items() if trial.state == state), None)
                if number is not None:
                    search.journal.append("reopened", trial=number)
        while len(curves) < at_once and (assignment := search.next()) is not None:
            hparams = Hparams(**assignment.hparams)
            curves[assignment.trial] = Curve(hparams, np.zeros((3, 1)), {"seed": assignment.trial})
            curves[assignment.trial].epoch = assignment.known_epochs
        if not curves:
            return
        for number, curve in list(curves.items()):
            if ended := is_over(record.trials[number].epochs, stop):
                search.report(number, [], "finished")
            elif not (ended := search.report(number, trained(curve, number), "running")):
                trial = record.trials[number]
                if curve.epoch == 1 and number % 7 == 6 and not trial.retries:
                    search.fault(number, "trial", "its process died")
                    assert search.next().trial == number  # type: ignore[union-attr]
                elif curve.epoch == 1 and number % 9 == 8 and not trial.reopened:
                    ended = search.report(number, [], "failed", "val_loss is nan at epoch 2")
            if ended:
                del curves[number]


def is_over(epochs: Any, stop: Stop) -> bool:
    seconds = sum(epochs.column("epoch_s"))
    return len(epochs) >= stop.max_epochs or (stop.max_s is not None and seconds >= stop.max_s)


def sweep_of(case: str, **changes: Any) -> Sweep:
    stop = {"grace_epochs": 2, "max_epochs": 9, "reduction": 2, **CASES[case], **changes}
    return make_sweep(search={"sampler": "tpe" if case == "asha" else "random"}, stop=stop)


def curve_rows(number: int, num_epochs: int) -> Iterator[dict[str, float]]:
    rng = np.random.default_rng(number)
    hparams = Hparams(top=float(rng.uniform(0.5, 0.9)), rate=float(rng.uniform(0.1, 0.9)), noise=0.03)
    curve = Curve(hparams, np.zeros((3, 1)), {"seed": number})
    return (row for _ in range(num_epochs) for row in trained(curve, number))


def run(stop: dict[str, Any], curves: Sequence[Sequence[float]], folds: bool = False, **row: float) -> list[str | None]:
    """One trial after another, an epoch a report → why each ended early. `row`: more of each epoch."""
    sweep = make_sweep(search={"sampler": "random", "num_trials": len(curves)}, stop=stop)
    search = search_of(sweep)
    for values in curves:
        number = search.next().trial  # type: ignore[union-attr]
        for epoch, value in enumerate(values, 1):
            if search.report(number, [{"epoch": epoch, sweep.stop.metric: value, **row}], "running"):
                break
        else:
            search.report(number, [], "finished")
    return [trial.reason for trial in search.record.trials.values()]
