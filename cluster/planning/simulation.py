"""A sweep in fast motion: its places, its driver, and its scheduler's rule on made-up scores. Nothing is trained.

A place runs one trial after another; every report waits its turn at the driver, which judges one at a time. ASHA and Hyperband
depend on the ranks of scores alone, so scores are drawn: a trial's own quality and chance, and a trend, as TPE finds better points with time.
How strong that is differs between sweeps: each run draws it anew, and a range over runs is what the plan says.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fersweep.cluster.planning.costs import TrialCost
from fersweep.cluster.schedulers.hyperband import bracket_of
from fersweep.search_spaces.sweep_file.schema import Stop

TREND = 4.0  # the most that TPE's late trials are better than its first, in standard deviations of a trial's score
LEARNS_AFTER, LEARNED_BY = 10, 12  # trials: when TPE begins to learn, and how many later most of that is reached
CHANCE = 0.5  # standard deviation of what a score at a rung has beside its trial's quality


@dataclass(frozen=True)
class Overhead:
    """Seconds of the driver. `report_s`, `trial_s`: for each report and each new trial; `suggest_s(number)`: of the sampler."""

    report_s: float
    trial_s: float
    suggest_s: Callable[[int], float]


@dataclass
class Run:
    """One run of the simulation. `reached`: rung → trials that had as many epochs. Seconds of all places together, but
    `sweep_s`: from the first trial's start to the last one's end.
    """

    sweep_s: float = 0.0
    epochs: int = 0
    reports: int = 0
    reached: dict[float, int] = field(default_factory=dict)
    finished: int = 0
    train_s: float = 0.0
    start_s: float = 0.0
    build_s: float = 0.0
    save_s: float = 0.0
    suggest_s: float = 0.0
    driver_s: float = 0.0

    @property
    def busy_s(self) -> float:
        return self.train_s + self.start_s + self.build_s + self.save_s + self.suggest_s + self.driver_s


class Rung:
    """The scores at a rung, and whether one more goes on: the rule of cluster/schedulers/asha.py, on a sorted list."""

    def __init__(self, reduction: int):
        self._reduction, self._scores = reduction, list[float]()

    def survives(self, score: float) -> bool:
        """Add the score; whether it is no worse than the best 1/reduction, by numpy's quantile."""
        bisect.insort(self._scores, score)
        at = (len(self._scores) - 1) * (1 - 1 / self._reduction)
        below, above = self._scores[math.floor(at)], self._scores[math.ceil(at)]
        return score >= below + (above - below) * (at - math.floor(at))


class Rules:
    """Which trials the scheduler of a sweep ends at its rungs.

    `PLANNED`: those whose rule follows from ranks alone; the others are planned as if they ended no trial.
    """

    PLANNED = ("asha", "hyperband", "none")

    def __init__(self, stop: Stop):
        self._reduction = stop.reduction
        self._brackets = {"asha": 1, "hyperband": stop.scheduler_options.get("brackets", 1)}.get(stop.scheduler, 0)
        self._rungs: dict[tuple[int, int], Rung] = {}  # by number and bracket

    def survives(self, trial: int, rung: int, score: float) -> bool:
        """Whether a trial goes on from the rung of this number, from 0."""
        bracket = bracket_of(trial, self._brackets, self._reduction) if self._brackets else rung + 1
        return rung < bracket or self._rungs.setdefault((rung, bracket), Rung(self._reduction)).survives(score)


@dataclass
class _Fleet:
    """What is under way. `reports`: (when, place, trial, epochs) of each trial's next report, as a heap."""

    stop: Stop
    costs: Sequence[TrialCost]
    overhead: Overhead
    worker_start_s: float
    run: Run = field(default_factory=Run)
    reports: list[tuple[float, int, int, int]] = field(default_factory=list)
    following: int = 0
    levels: Sequence[float] = ()
    before: dict[int, int] = field(default_factory=dict[int, int])  # epochs at a trial's last report

    def __post_init__(self) -> None:
        self.levels = self.stop.rungs()

    def end(self, trial: int) -> int:
        """The last epoch of a trial that nothing ends early."""
        if self.stop.max_s is None:
            return self.stop.max_epochs
        return min(self.stop.max_epochs, self._epoch(trial, self.stop.max_s))

    def _epoch(self, trial: int, level: float) -> int:
        """By which epoch's end a trial has come so far; the first one takes longer."""
        if self.stop.unit == "epochs":
            return math.ceil(level)
        cost = self.costs[trial]
        return max(math.ceil((level - cost.first_s) / max(cost.epoch_s, 1e-6)), 1)

    def num_rungs(self, trial: int, epochs: int) -> int:
        """How many rungs a trial has come to after so many epochs."""
        return bisect.bisect_right(self.levels, epochs, key=lambda level: self._epoch(trial, level))

    def begin(self, place: int, now: float, fresh: bool) -> float:
        """Give the next trial to a place, if there is one → when the driver is free again."""
        trial = self.following
        if trial >= len(self.costs):
            return now
        self.following += 1
        suggest_s = self.overhead.suggest_s(trial)
        free = now + suggest_s + self.overhead.trial_s
        start_s, build_s = self.worker_start_s * fresh, self.costs[trial].build_s + self.costs[trial].first_s
        self.run.suggest_s += suggest_s
        self.run.driver_s += self.overhead.trial_s
        self.run.start_s += start_s
        self.run.build_s += build_s
        self.train(place, trial, 0, free + start_s + build_s)
        return free

    def train(self, place: int, trial: int, epochs: int, now: float) -> None:
        """Train up to the next report: for `report_s`, or to a rung, or to the end."""
        cost, stop = self.costs[trial], self.stop
        chunk = max(math.ceil(stop.report_s / max(cost.epoch_s, 1e-6)), 1)
        until = min(epochs + chunk, self.end(trial))
        if (rung := self.num_rungs(trial, epochs)) < len(self.levels):
            until = min(until, self._epoch(trial, self.levels[rung]))
        train_s = (until - epochs) * cost.epoch_s
        self.run.epochs += until - epochs
        self.run.reports += 1
        self.run.train_s += train_s
        self.run.save_s += cost.report_s
        self.before[trial] = epochs
        heapq.heappush(self.reports, (now + train_s + cost.report_s, place, trial, until))


def simulate(
    stop: Stop,
    costs: Sequence[TrialCost],
    places: int,
    worker_start_s: float,
    overhead: Overhead,
    rng: np.random.Generator,
    learns: bool = False,
) -> Run:
    """Run a sweep of trials with these `costs`, in their order, `places` at once. `learns`: its sampler does."""
    fleet = _Fleet(stop, costs, overhead, worker_start_s)
    run, rules = fleet.run, Rules(stop)
    run.reached = dict.fromkeys(fleet.levels, 0)
    later = np.maximum(np.arange(len(costs)) - LEARNS_AFTER, 0)
    quality = rng.normal(size=len(costs)) + learns * rng.uniform(0, TREND) * (1 - np.exp(-later / LEARNED_BY))
    free = 0.0  # from when on the driver is
    for place in range(min(places, len(costs))):
        free = fleet.begin(place, free, fresh=True)
    while fleet.reports:
        now, place, trial, epochs = heapq.heappop(fleet.reports)
        free = max(now, free) + overhead.report_s
        run.driver_s += free - now
        run.sweep_s = free
        ended = epochs >= fleet.end(trial)
        run.finished += ended
        for rung in range(fleet.num_rungs(trial, fleet.before[trial]), fleet.num_rungs(trial, epochs)):
            run.reached[fleet.levels[rung]] += 1
            ended |= not rules.survives(trial, rung, float(quality[trial] + CHANCE * rng.normal()))
        if ended:
            free = fleet.begin(place, free, fresh=False)
        else:
            fleet.train(place, trial, epochs, free)
    return run
