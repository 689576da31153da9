"""What a sweep's matrix products alone would take on this machine, and when a sweep has left nothing to do behind."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

WAIT_S = 600.0
STEP_GATES = 3  # of an LSTM's four, in its only step: nothing is forgotten


def product_rate() -> float:
    """Operations a second of a product of two 2,048 × 2,048 matrices in float32 on all cores."""
    import torch

    a = torch.randn(2048, 2048)
    seconds: list[float] = []
    for _ in range(10):
        start = time.perf_counter()
        _ = a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(seconds)


def dense_epoch(widths: Sequence[int], num_train: int, num_val: int) -> float:
    """Operations of the products of an epoch of dense layers: `widths` from inputs to classes."""
    return _epoch([a * b for a, b in itertools.pairwise(widths)], num_train, num_val)


def lstm_epoch(widths: Sequence[int], ways: int, num_train: int, num_val: int) -> float:
    """The same of LSTM layers of one step, in `ways` directions, and a dense layer after them."""
    features, *units, classes = widths
    inputs = [features, *(ways * width for width in units)]
    layers = [ways * of * STEP_GATES * width for of, width in zip(inputs, units, strict=False)]
    return _epoch([*layers, inputs[-1] * classes], num_train, num_val)


def _epoch(layers: Sequence[int], num_train: int, num_val: int) -> float:
    """Each layer's product has a forward pass and two backward ones, the first layer's one."""
    return num_train * (4 * layers[0] + 6 * sum(layers[1:])) + num_val * 2 * sum(layers)


def await_rest(sweep_dir: Path) -> None:
    """Wait for what a command that has returned has left to the background: pictures in MLflow, and the report."""
    from fersweep.results.tracking.lag import read_level

    deadline = time.monotonic() + WAIT_S
    while not (sweep_dir / "report.html").exists() or read_level(sweep_dir).pictures:
        if time.monotonic() > deadline:
            sys.exit(f"{sweep_dir}: its report or its pictures did not come within {WAIT_S:.0f} s")
        time.sleep(0.2)
    time.sleep(1)
