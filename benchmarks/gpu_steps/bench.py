"""What the steps of gpu.py share: the faces, the time that is left, other steps as processes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BATCH = 64
Rows = Iterator[dict[str, Any]]


@dataclasses.dataclass
class Bench:
    """What the steps share."""

    data: Path
    work: Path
    tiny: bool
    ends: float
    """time.monotonic() when the step's time is over."""

    @property
    def left_s(self) -> float:
        return self.ends - time.monotonic()

    def arrays(self) -> Any:
        """TaskArrays of the pixels; train is a whole number of batches."""
        from images import load_faces

        return load_faces(self.data, 2 * BATCH if self.tiny else None)

    def build(self, net: str, arrays: Any, **more: Any) -> Any:
        from images_torch import make_classifier

        return make_classifier(net, arrays, **more)


def next_row(part: subprocess.Popen[str]) -> dict[str, Any] | None:
    """The next row that a part prints; None when it has ended."""
    assert part.stdout is not None
    return next((json.loads(line) for line in part.stdout if line.startswith("{")), None)


@contextlib.contextmanager
def part(bench: Bench, name: str) -> Iterator[subprocess.Popen[str]]:
    """Another step as a process of its own, with half a GPU."""
    command = [
        sys.executable,
        sys.argv[0],
        "--work",
        str(bench.work),
        "--data",
        str(bench.data),
        "--seconds",
        "60",
        name,
    ]
    command += ["--tiny"] if bench.tiny else []
    environment = {**os.environ, "FERSWEEP_GPU_SHARE": "0.5"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as part:
        yield part


def epochs_a_second(epoch: Callable[[], object], bench: Bench) -> float:
    epoch()
    epochs, start = 0, time.monotonic()
    while (spent := time.monotonic() - start) < (0.2 if bench.tiny else 2) or epochs == 0:
        epoch()
        epochs += 1
    return epochs / spent
