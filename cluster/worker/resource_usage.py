"""What a worker process takes of its machine, measured by itself for each report: `Meter(gpus).read()`."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import Any

import psutil


class Meter:
    """Measures the process that it is made in. A reading takes some tens of microseconds.

    `gpus`: share of a GPU that the trial has; without one, none is asked.
    """

    def __init__(self, gpus: float):
        self._gpus, self._process = gpus, psutil.Process()
        self._process.cpu_percent()  # of the time since the last call: it begins now

    def read(self) -> dict[str, Any]:
        """{host, pid, cpu_percent, rss_bytes}, with a GPU also {gpu_memory_bytes, gpu_percent} as far as they are known.

        `cpu_percent`: since the last reading, 100 for each core that was busy all the time. `gpu_memory_bytes`: what the
        framework of this process holds; `gpu_percent`: how busy the whole GPU is.
        """
        used = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "cpu_percent": self._process.cpu_percent(),
            "rss_bytes": self._process.memory_info().rss,
        }
        return used | _gpu() if self._gpus else used


def _gpu() -> dict[str, Any]:
    """Of the framework that is loaded; nothing is loaded for it."""
    used: dict[str, Any] = {}
    torch: Any = sys.modules.get("torch")
    tensorflow: Any = sys.modules.get("tensorflow")
    with contextlib.suppress(Exception):  # no GPU after all, or one that has gone wrong: its trial will tell
        if torch is not None and torch.cuda.is_initialized():
            used["gpu_memory_bytes"] = torch.cuda.memory_reserved()
            used["gpu_percent"] = torch.cuda.utilization()  # where the package nvidia-ml-py is installed
        elif tensorflow is not None:
            used["gpu_memory_bytes"] = tensorflow.config.experimental.get_memory_info("GPU:0")["current"]
    return used
