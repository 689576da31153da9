"""Space of the closed-form learning curve (trainables/curve.py)."""

from __future__ import annotations

from typing import Any


def space(trial: Any) -> dict[str, Any]:
    return {
        "top": trial.suggest_float("top", 0.2, 0.95),
        "rate": trial.suggest_float("rate", 0.01, 0.5, log=True),
        "noise": trial.suggest_float("noise", 0.0, 0.05),
    }


POINTS: dict[str, dict[str, Any]] = {"easy": {"top": 0.9, "rate": 0.3, "noise": 0.0}}
