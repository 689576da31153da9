"""Space of the learning curve that breaks (trainables/faulty_curve.py)."""

from __future__ import annotations

from typing import Any

from fersweep.search_spaces import curve

FAULTS = ["none", "nan", "memory", "hog", "error", "kill", "hang"]


def space(trial: Any) -> dict[str, Any]:
    return {
        **curve.space(trial),
        "fault": trial.suggest_categorical("fault", FAULTS),
        "fault_at": trial.suggest_int("fault_at", 1, 10),
        "epoch_s": trial.suggest_float("epoch_s", 0.0, 10.0),
    }


POINTS: dict[str, dict[str, Any]] = {
    "sound": {"top": 0.9, "rate": 0.3, "noise": 0.0, "fault": "none", "fault_at": 1, "epoch_s": 0.0}
}
