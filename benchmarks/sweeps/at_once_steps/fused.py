"""A sweep in simulated time whose workers train their trials at once: the members of a worker end their epochs together.

An epoch of k members takes a + b·k seconds, give or take a tenth. All that a worker's members report is judged before the places
of those that end are filled.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search_quality_steps.searches import Asked, sweep_of
from benchmarks.search_quality_steps.tasks import METRIC, Task
from fersweep.cluster.search.decisions import Search
from fersweep.results.record.journal import Journal


@dataclass(frozen=True)
class Variant:
    """A search. qmc_start: so many of its first points are those of a Sobol sequence, -1: as many as run at once.

    together: what members report together is recorded before any of them is judged.
    """

    sampler: str = "tpe"
    options: tuple[tuple[str, Any], ...] = ()
    scheduler: str = "asha"
    grace: int = 3
    qmc_start: int = 0
    together: bool = False


@dataclass(frozen=True)
class Seconds:
    """What an epoch of k members takes: a + b·k."""

    a: float
    b: float

    def __call__(self, members: int) -> float:
        return self.a + self.b * members


@dataclass(frozen=True)
class Step:
    """After a worker's epoch: seconds since the start, trials that have ended, epochs trained, the best trial's value without
    its noise. A trial is the best by what it reported.
    """

    seconds: float
    ended: int
    epochs: int
    best: float


class FusedSearch(Search):
    """As the driver asks it: reports of members that train together, then new trials."""

    def report_all(self, rows: dict[int, list[dict[str, float]]], finished: set[int], together: bool) -> set[int]:
        """trial → its epochs; → those that have ended."""
        if not together:
            return {
                number
                for number, epochs in rows.items()
                if self.report(number, epochs, "finished" if number in finished else "running")
            }
        before = {number: self.record.trials[number].num_epochs for number in rows}
        for number, epochs in rows.items():
            self._record_epochs(number, epochs, None, None)
        ended = set(finished)
        for number in rows:
            if number in finished:
                self._end(number, "finished", None)
            elif self._judge(number, before[number]):
                ended.add(number)
        return ended


def simulate(
    task: Task, variant: Variant, seed: int, num_trials: int, at_once: int, workers: int, time: Seconds, scratch: Path
) -> list[Step]:
    """A search of `num_trials` trials, at most `at_once` of them at the same time over all workers."""
    search = _search(task, variant, seed, num_trials, at_once, scratch)
    rng, steps = np.random.default_rng([seed, 1]), list[Step]()
    members: list[dict[int, tuple[Asked, int]]] = [{} for _ in range(min(workers, at_once))]
    places = [len(part) for part in np.array_split(np.arange(at_once), len(members))]
    queue: list[tuple[float, int]] = []
    reported, true, ended, epochs = -np.inf, float("nan"), 0, 0

    def fill(worker: int, now: float) -> None:
        mine = members[worker]
        while len(mine) < places[worker] and (assignment := search.next()) is not None:
            params = search.record.trials[assignment.trial].params
            mine[assignment.trial] = Asked(number=assignment.trial, hparams=assignment.hparams, params=params), 0
        if mine:
            heapq.heappush(queue, (now + time(len(mine)) * rng.uniform(0.9, 1.1), worker))

    for worker in range(len(members)):
        fill(worker, 0.0)
    while queue:
        now, worker = heapq.heappop(queue)
        mine, rows = members[worker], dict[int, list[dict[str, float]]]()
        for number, (asked, done) in mine.items():
            epoch = done + 1
            value = task.value(asked.hparams, asked.params, number + 10_000 * seed, epoch)
            if value > reported:
                reported, true = value, task.true_value(asked.hparams, asked.params, epoch)
            rows[number] = [{"epoch": epoch, METRIC: value, "epoch_s": 1.0}]
            mine[number] = asked, epoch
        whole = {number for number, (_, epoch) in mine.items() if epoch == task.max_epochs}
        gone = search.report_all(rows, whole, variant.together)
        for number in gone:
            del mine[number]
        ended, epochs = ended + len(gone), epochs + len(rows)
        steps.append(Step(now, ended, epochs, true))
        fill(worker, now)
    return steps


def _search(task: Task, variant: Variant, seed: int, num_trials: int, at_once: int, scratch: Path) -> FusedSearch:
    options = {"num_trials": num_trials, "sampler_options": dict(variant.options)}
    sweep = sweep_of(task, seed, variant.sampler, variant.scheduler, search=options, grace_epochs=variant.grace)
    first = min(at_once if variant.qmc_start < 0 else variant.qmc_start, num_trials)
    points: list[tuple[str, dict[str, Any]]] = []
    if first:
        other = sweep_of(task, seed, "qmc", "none", search={"num_trials": first})
        filling = Search(other, Journal(scratch / "first.jsonl"))
        while (assignment := filling.next()) is not None:
            points.append((f"sobol_{assignment.trial}", filling.record.trials[assignment.trial].params))
    return FusedSearch(sweep, Journal(scratch / "journal.jsonl"), points=points)
