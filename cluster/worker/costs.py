"""What a trial's model costs, measured once, with the trial's first report (search_spaces/sweep_file/sections/objectives.py).

`latency_ms` is the time of `predict` for one face of val, as an array in memory, on one thread: the median of repeated calls
after the first ones. Where the trial has no GPU it is CPU time of the process, so that a neighbour that takes the core away
for a while does not count; with a GPU it is the time that passes, the way to the GPU and back included. From one measurement
of a net to the next it differed by 6 % with three busy processes a core, and up to twofold with ten, as caches are shared. It
is of the trainable's own `predict`: an exported file answers faster (docs/explanation/measurements.md).

Threads: PyTorch's are set to one meanwhile. TensorFlow's cannot be changed once it runs, but it does not share out one face. To
keep the process on one core instead is no way: threads that wait for each other then take hundreds of times as long.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from fersweep.trainables.population import Member
from fersweep.trainables.protocol import Trainable

WARM_UP, FEWEST, MOST = 3, 5, 100  # calls
SHORT_S, LONG_S = (
    0.03,
    0.3,
)  # after which no further call is made: where nothing asks for the latency, and where it does


def measured(trainable: Trainable | Member, x: np.ndarray, on_gpu: bool, budget_s: float = SHORT_S) -> dict[str, float]:
    """`latency_ms`, and `weights` where the trainable says how many it has (trainables/protocol.py).

    x: (N, …) inputs as the task gives them, one or more; the first is predicted.
    """
    costs = {"latency_ms": latency_ms(trainable, x[:1], on_gpu, budget_s)}
    if hasattr(trainable, "num_weights"):
        costs["weights"] = float(trainable.num_weights())  # type: ignore[attr-defined]
    return costs


def latency_ms(trainable: Trainable | Member, face: np.ndarray, on_gpu: bool, budget_s: float) -> float:
    """Milliseconds of a prediction of `face`, (1, …)."""
    clock = time.perf_counter if on_gpu else time.process_time
    calls: list[float] = []
    with _one_thread(), getattr(trainable, "undisturbed", contextlib.nullcontext)():
        for _ in range(WARM_UP):
            trainable.predict(face)
        end = time.perf_counter() + budget_s
        while len(calls) < FEWEST or (len(calls) < MOST and time.perf_counter() < end):
            start = clock()
            trainable.predict(face)
            calls.append(clock() - start)
    return round(1000 * statistics.median(calls), 4)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
