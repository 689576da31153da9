"""From what trials cost to what a sweep takes: many runs of the simulation, and ranges over them. No Ray, no framework."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean

import numpy as np

from fersweep.cluster.planning.costs import Costs
from fersweep.cluster.planning.simulation import Overhead, Run, simulate
from fersweep.cluster.planning.suggestions import Suggestions
from fersweep.common.errors import InputError
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.sections.suitability import options_of

RUNS, MOST_REPORTS = 200, 400_000  # of the simulation; fewer runs where a sweep has many reports
LOW, HIGH = 0.1, 0.9  # quantiles of a range
ERROR = {"calibration": 0.1, "past sweeps": 0.06}  # standard deviation of all times together, as a share

REPORT_S, TRIAL_S = 0.012, 0.02  # of the driver, for each report and each trial (benchmarks/sweeps/plan.py)
START_S = 4.0  # of `launch` before the first trial: its checks, Ray on this machine
CONNECT_S = 2.0  # the same, where Ray runs already
# CPU time of MLflow's recorder: its start, each trial, each epoch; and the share of a CPU that it gets while the sweep runs, on a
# full machine and on one with CPUs to spare.
RECORD_S, RECORD_TRIAL_S, RECORD_EPOCH_S = 4.5, 0.2, 0.001
RECORD_SHARE = (0.1, 1 / 7)
LAST_WRITES_S = 2.5  # after the last trial, whatever was written before: its end, the kept checkpoints


@dataclass(frozen=True)
class Range:
    """What is likely, and from where to where it may be: nine times of ten it is above `low`, and nine of ten below `high`."""

    low: float
    likely: float
    high: float

    def times(self, factor: float) -> Range:
        return Range(self.low * factor, self.likely * factor, self.high * factor)

    def plus(self, other: float) -> Range:
        return Range(self.low + other, self.likely + other, self.high + other)


@dataclass(frozen=True)
class Stage:
    """What one sweep trains, wherever it runs: `rungs` epoch (or seconds) → trials that get so far;
    `finished`: to the end.
    """

    name: str
    num_trials: int
    max_epochs: int
    rungs: dict[float, Range]
    finished: Range
    epochs: Range
    unit: str = "epochs"


@dataclass(frozen=True)
class Estimate:
    """What the sweep, with the one that follows it, takes in one place.

    Attributes:
        where: in words.
        at_once: trials at the same time.
        sweep_s: from the first trial's start to the last one's end, of each sweep: a list.
        before_s, after_s: what `launch` takes before and after.
        shares: of the workers' time, by what they do, "waiting" (for nothing more to do) among them.
        bottleneck: training, worker start-up, driver and sampler, storage writes, reading data.
    """

    where: str
    at_once: int
    sweep_s: list[Range]
    before_s: float
    after_s: float
    total_s: Range
    shares: dict[str, float]
    bottleneck: str
    gpus: float = 0.0
    cost: Range | None = None
    is_a_limit: bool = False
    stages: list[Stage] = field(default_factory=list)


def over_runs(values: Sequence[float]) -> Range:
    low, likely, high = np.quantile(values, [LOW, 0.5, HIGH]).tolist()
    return Range(low, likely, high)


def runs(sweep: Sweep, costs: Costs, places: int, suggestions: Suggestions, seed: int = 0) -> list[Run]:
    """Runs of a sweep in `places`. Trials that were not tried cost what others of them do, drawn anew in each run."""
    stop, number, known = sweep.stop, sweep.search.num_trials, costs.known()
    typical = costs.typical()
    reports_each = max(stop.max_epochs / max(math.ceil(stop.report_s / max(typical.epoch_s, 1e-6)), 1), 1)
    if number * reports_each > 10 * MOST_REPORTS:
        raise InputError(
            f"{number * reports_each:,.0f} reports are too many to plan: want fewer search.num_trials or stop.max_epochs"
        )
    num_runs = max(min(RUNS, int(MOST_REPORTS / (number * reports_each))), 3)
    overhead = Overhead(REPORT_S, TRIAL_S, suggestions.of)
    learns = options_of(sweep).LEARNS
    found: list[Run] = []
    for index in range(num_runs):
        rng = np.random.default_rng([seed, index])
        pool = rng.integers(len(costs.trials), size=len(costs.trials))
        drawn = [known.get(trial) or costs.trials[int(rng.choice(pool))] for trial in range(number)]
        found.append(simulate(stop, drawn, places, costs.start_s, overhead, rng, learns))
    return found


def stage(sweep: Sweep, found: Sequence[Run]) -> Stage:
    """What those runs trained."""
    return Stage(
        name=sweep.name,
        num_trials=sweep.search.num_trials,
        max_epochs=sweep.stop.max_epochs,
        rungs={level: over_runs([run.reached[level] for run in found]) for level in sweep.stop.rungs()},
        finished=over_runs([run.finished for run in found]),
        epochs=over_runs([run.epochs for run in found]),
        unit=sweep.stop.unit,
    )


def with_error(values: Sequence[float], source: str, faces_share: float) -> Range:
    """A range over runs in which all times may be too long or too short together."""
    error = ERROR[source] + (0.03 if faces_share < 1 else 0.0)
    factors = np.exp(np.random.default_rng(0).normal(0, error, len(values)))
    found = over_runs((np.asarray(values) * factors).tolist())
    return Range(found.low, over_runs(values).likely, found.high)


def shares(found: Sequence[Run], places: int, read_s: float) -> dict[str, float]:
    """Shares of the workers' time, of all runs together; with `read_s` of `launch` before it, when they wait for data."""
    total = sum(run.sweep_s * places for run in found) + read_s * places * len(found)
    parts = {
        "training": sum(run.train_s for run in found),
        "worker start-up": sum(run.start_s + run.build_s for run in found),
        "driver and sampler": sum(run.driver_s + run.suggest_s for run in found),
        "storage writes": sum(run.save_s for run in found),
        "reading data": read_s * places * len(found),
    }
    used = {name: seconds / total for name, seconds in parts.items()} if total else dict.fromkeys(parts, 0.0)
    return {**used, "waiting": max(1 - sum(used.values()), 0.0)}


def bottleneck(parts: dict[str, float]) -> str:
    """What takes most of the workers' time."""
    return max((name for name in parts if name != "waiting"), key=lambda name: parts[name])


def after_s(found: Sequence[Run], num_trials: int, spare: float) -> float:
    """Seconds until MLflow has it all after the last trial; `spare`: share of the CPUs that the sweep leaves alone."""
    work_s = RECORD_S + RECORD_TRIAL_S * num_trials + RECORD_EPOCH_S * mean(run.epochs for run in found)
    least, most = RECORD_SHARE
    during_s = mean(run.sweep_s for run in found) * min(max(spare, least), most)
    return 1.0 + max(work_s - during_s, LAST_WRITES_S)
