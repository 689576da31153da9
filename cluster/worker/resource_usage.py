"""What a worker process uses of its machine, measured by itself for each report: `Meter(gpus).read()`."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True)
class Usage:
    """What a process uses. None: there is no GPU, or the figure is not known.

    Attributes:
        cpu_percent: since the last reading; 100 for each core that was busy all the time.
        rss_bytes: resident memory.
        gpu_memory_bytes: what the framework of this process holds.
        gpu_percent: how busy the whole GPU is.
    """

    host: str
    pid: int
    cpu_percent: float
    rss_bytes: int
    gpu_memory_bytes: int | None = None
    gpu_percent: float | None = None

    def as_json(self) -> dict[str, Any]:
        """What is known, as the journal has it."""
        return {name: value for name, value in vars(self).items() if value is not None}


class Meter:
    """Measures the process that it is made in. A reading takes some tens of microseconds.

    `gpus`: the trial's share of a GPU; 0: no GPU is measured.
    """

    def __init__(self, gpus: float):
        self._gpus, self._process = gpus, psutil.Process()
        self._process.cpu_percent()  # of the time since the last call: it begins now

    def read(self) -> Usage:
        memory_bytes, percent = _gpu() if self._gpus else (None, None)
        return Usage(
            host=socket.gethostname(),
            pid=os.getpid(),
            cpu_percent=self._process.cpu_percent(),
            rss_bytes=self._process.memory_info().rss,
            gpu_memory_bytes=memory_bytes,
            gpu_percent=percent,
        )


def _gpu() -> tuple[int | None, float | None]:
    """(bytes held, percent busy), as the framework that is loaded reports them; none is loaded for it."""
    memory_bytes = percent = None
    torch: Any = sys.modules.get("torch")
    tensorflow: Any = sys.modules.get("tensorflow")
    with contextlib.suppress(Exception):  # no GPU after all, or one that has failed: its trial will report that
        if torch is not None and torch.cuda.is_initialized():
            memory_bytes = torch.cuda.memory_reserved()
            percent = torch.cuda.utilization()  # where the package nvidia-ml-py is installed
        elif tensorflow is not None:
            memory_bytes = tensorflow.config.experimental.get_memory_info("GPU:0")["current"]
    return memory_bytes, percent
