"""The learning curve of curve.py over a space of 28 points, in which one parameter depends on another. As faulty_curve.py."""

from __future__ import annotations

from typing import Any

from fersweep.trainables import curve

FRAMEWORK, FEATURES = curve.FRAMEWORK, curve.FEATURES
Hparams, build, restore = curve.Hparams, curve.build, curve.restore
POINTS: dict[str, dict[str, Any]] = {}


def space(trial: Any) -> dict[str, Any]:
    kind = trial.suggest_categorical("kind", ["flat", "steep"])
    bend = trial.suggest_int("bend", 1, 3) if kind == "steep" else 0
    return {"top": trial.suggest_int("top", 1, 7) / 10, "rate": 0.1 + bend / 10, "noise": 0.01}
