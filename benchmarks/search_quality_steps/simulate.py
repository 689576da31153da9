"""A sweep in simulated time: `at_once` workers, an epoch takes a worker one unit of time, give or take a tenth."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np

from benchmarks.search_quality_steps.searches import Asked, Searching
from benchmarks.search_quality_steps.tasks import Task


@dataclass
class Course:
    """What a search had found after each epoch that was trained.

    Attributes:
        best: value of the best trial so far, without its noise. A trial is the best by what it reported.
        trials: how many had been asked for.
    """

    best: list[float] = field(default_factory=list[float])
    trials: list[int] = field(default_factory=list[int])


def simulate(search: Searching, task: Task, seed: int, budget: int, at_once: int = 4) -> Course:
    """Run `search` on `task` for `budget` epochs in all."""
    rng, course = np.random.default_rng([seed, 1]), Course()
    queue: list[tuple[float, int, Asked, int]] = []
    reported, true, asked_for = -np.inf, float("nan"), 0

    def start(now: float) -> None:
        nonlocal asked_for
        asked = search.ask()
        asked_for += 1
        heapq.heappush(queue, (now + rng.uniform(0.9, 1.1), asked.number, asked, 1))

    for _ in range(at_once):
        start(0.0)
    while len(course.best) < budget:
        now, number, asked, epoch = heapq.heappop(queue)
        value = task.value(asked.hparams, asked.params, number + 10_000 * seed, epoch)
        if value > reported:
            reported, true = value, task.true_value(asked.hparams, asked.params, epoch)
        course.best.append(true)
        course.trials.append(asked_for)
        last = epoch == task.max_epochs
        if search.report(number, epoch, value, last):
            start(now)
        else:
            heapq.heappush(queue, (now + rng.uniform(0.9, 1.1), number, asked, epoch + 1))
    return course
