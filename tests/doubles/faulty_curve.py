"""The learning curve of curve.py with a fault at a chosen epoch, each a real one: for testing what a sweep survives.

Not shipped: FERSWEEP_TRAINABLES names this module, which is both the trainable and its space.
"""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.search_spaces import curve as curve_space
from fersweep.trainables import curve
from fersweep.trainables.population import Points

FRAMEWORK = "numpy"
FEATURES = None
FUSED_FRAMEWORK, MOST_FUSED = "numpy", {"cpu": 4}
member_bytes = curve.member_bytes
FAULTS = ["none", "nan", "memory", "hog", "error", "kill", "hang"]
POINTS: dict[str, dict[str, Any]] = {
    "sound": {"top": 0.9, "rate": 0.3, "noise": 0.0, "fault": "none", "fault_at": 1, "epoch_s": 0.0}
}


def space(trial: Any) -> dict[str, Any]:
    return {
        **curve_space.space(trial),
        "fault": trial.suggest_categorical("fault", FAULTS),
        "fault_at": trial.suggest_int("fault_at", 1, 10),
        "epoch_s": trial.suggest_float("epoch_s", 0.0, 10.0),
    }


class Hparams(curve.Hparams):
    """fault: what happens in place of training epoch `fault_at`. "memory" asks for more than there is, "hog" takes what
    there is (a third of the machine's), "kill" is SIGKILL, "hang" holds Python's global lock.
    """

    fault: Literal["none", "nan", "memory", "hog", "error", "kill", "hang"] = "none"
    fault_at: int = Field(3, ge=1)


class FaultyCurve(curve.Curve):
    """Trains as a Curve until it breaks."""

    hparams: Hparams

    def _metrics(self) -> dict[str, float]:
        row, fault = super()._metrics(), self.hparams.fault if self.epoch == self.hparams.fault_at else "none"
        if fault == "nan":
            return {**row, "train_loss": math.nan, "val_loss": math.nan}
        if fault == "memory":
            np.ones(2**48)  # more than any machine has
        if fault == "hog":
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            self.taken = [_slowly(2**26) for _ in range(total // 3 // 2**26)]
        if fault == "error":
            raise LookupError(f"something that nobody foresaw at epoch {self.epoch}")
        if fault == "kill":
            print("\x1b[31mlast words\a\x1b[0m", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "hang":
            re.match(r"(a+)+$", "a" * 64 + "b")  # backtracks for centuries
        return row


def _slowly(num_bytes: int) -> np.ndarray:
    time.sleep(0.05)
    return np.ones(num_bytes, np.uint8)


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> FaultyCurve:
    return curve.build_as(FaultyCurve, "faulty_curve", Hparams(**hparams), arrays, seed)


def build_fused(points: Points, arrays: TaskArrays) -> curve.Curves:
    """An error that nobody foresaw breaks all of them, as "kill" and "hang" do."""
    return curve.Curves(points, arrays, build)


def restore(directory: Path) -> FaultyCurve:
    return curve.restore_as(FaultyCurve, Hparams, directory)
