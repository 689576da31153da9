"""The learning curve of curve.py with choices that are tuples, lists and mappings, and with points that cannot be built.

Not shipped: FERSWEEP_TRAINABLES names this module, which is both the trainable and its space.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.search_spaces import curve as curve_space
from fersweep.trainables import curve

FRAMEWORK = "numpy"
FEATURES = None
SHAPES = [(64,), (64, 32), (8, 4, 2)]
PARTS: list[Any] = [[0.5, 0.5], [0.9, 0.1], {"first": 1.0}, "even"]
POINTS: dict[str, dict[str, Any]] = {
    "flat": {"top": 0.9, "rate": 0.3, "noise": 0.0, "shape": (64,), "parts": [0.9, 0.1], "load": 0.5, "odd": 0}
}


def space(trial: Any) -> dict[str, Any]:
    hparams = {
        **curve_space.space(trial),
        "shape": trial.suggest_categorical("shape", SHAPES),
        "parts": trial.suggest_categorical("parts", PARTS),
        "load": trial.suggest_float("load", 0.0, 1.0),
    }
    return {**hparams, "load": hparams["load"] / (1 - trial.suggest_int("odd", 0, 1))}


class Hparams(curve.Hparams):
    """shape, parts: of no meaning; load: of 1 or more is too much. With odd = 1 the space divides by zero."""

    shape: tuple[int, ...] = (64,)
    parts: list[float] | dict[str, float] | str = "even"
    load: float = Field(0.0, lt=0.8)


class ListedCurve(curve.Curve):
    hparams: Hparams


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> ListedCurve:
    return curve.build_as(ListedCurve, "listed_curve", Hparams(**hparams), arrays, seed)


def restore(directory: Path) -> ListedCurve:
    return curve.restore_as(ListedCurve, Hparams, directory)
