"""Up to how many models a population trains at once, where the sweep file leaves that open (`resources.fuse: auto`).

It begins with START members. When it is full, the rate of a few epochs is measured: epochs of members a second, each weighed by
its model's number of weights. While a population of twice the size has a rate that is higher by GAIN, it grows. It never
outgrows memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import psutil

from fersweep.trainables import gpu_share

START, GAIN = 8, 1.1
EPOCHS = 3  # whose rate is measured
MEMORY_SHARE = 0.8  # of what is free: Ray ends workers of a machine that is nearly full


class PopulationSize:
    """`now`: up to how many members a population has room for, of `most`; `grows`: it is still measured."""

    def __init__(self, most: int, grows: bool):
        self.now = min(START, most) if grows else most
        self._most, self.grows = most, grows and most > 1
        self._before: tuple[int, float] | None = None  # the size before, and its rate
        self._work = self._seconds = 0.0
        self._epochs = 0

    def fit_into(self, free_bytes: int, member_bytes: int) -> None:
        """Keep to the memory that a population may use."""
        if self.grows:
            self._most = max(min(self._most, free_bytes // max(member_bytes, 1)), 1)
            self.now = min(self.now, self._most)

    def hear(self, weights: Sequence[int], seconds: float) -> None:
        """An epoch of members with so many weights each, who had trained together before, took so long."""
        if not self.grows or len(weights) < self.now:
            return
        self._work, self._seconds, self._epochs = self._work + sum(weights), self._seconds + seconds, self._epochs + 1
        if self._epochs == EPOCHS:
            self._grow(self._work / max(self._seconds, 1e-9))
            self._work, self._seconds, self._epochs = 0.0, 0.0, 0

    def _grow(self, rate: float) -> None:
        if self._before is not None and rate < GAIN * self._before[1]:
            self.now, self.grows = self._before[0], False
        elif self.now == self._most:
            self.grows = False
        else:
            self._before = self.now, rate
            self.now = min(2 * self.now, self._most)


def free_bytes(cpus: float, gpus: float) -> int:
    """Memory that a worker with so many CPUs and this share of a GPU may use; of the GPU, if it has one."""
    if gpus:
        try:
            return int(MEMORY_SHARE * gpu_share.cap_bytes(gpu_share.total_bytes(), min(gpus, 1.0)))
        except RuntimeError:  # nothing says how much it has
            pass
    workers = max(int((os.cpu_count() or 1) / cpus), 1)
    return int(MEMORY_SHARE * psutil.virtual_memory().available / workers)
