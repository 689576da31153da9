"""A model's answers from a process of its own: `python -m fersweep.results.models.other_process`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fersweep import trainables
from fersweep.common.processes import run_module


def answers_elsewhere(checkpoint: Path, x: np.ndarray, timed: int = 0) -> tuple[np.ndarray, float | None]:
    """What the model of a checkpoint answers, asked in a process of its own: TensorFlow and torch do not share one well.

    Returns:
        (N, C) probabilities of x (N, …); the median of `timed` answers to one face each, in seconds, None if 0.
    """
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory) / "x.npy", Path(directory) / "answers.npz"
        np.save(source, x)
        failure = f"{checkpoint}: the model could not be asked"
        run_module(__name__, Path(checkpoint).resolve(), source, target, timed, otherwise=failure)
        with np.load(target) as answers:
            return answers["probabilities"], float(answers["latency_s"]) if timed else None


def _main(arguments: Sequence[str]) -> None:
    import time

    checkpoint, source, target, timed = arguments
    model, x = trainables.restore(Path(checkpoint)), np.load(source)
    probabilities = model.predict(x)
    seconds: list[float] = []
    for i in range(int(timed)):
        start = time.perf_counter()
        model.predict(x[[i % len(x)]])
        seconds.append(time.perf_counter() - start)
    np.savez(target, probabilities=probabilities, latency_s=np.median(seconds) if seconds else np.nan)


if __name__ == "__main__":
    _main(sys.argv[1:])
