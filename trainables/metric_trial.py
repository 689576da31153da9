"""Try metrics of people's own before a sweep begins, on val's real y and answers that are made up, in a process of its own.

    tried(["my_metrics.py@3f2a9c81d0e4:cost"], arrays)["val_cost"].baseline

Refused where one raises, is no finite number, changes what it is given, gives two values for the same answers, one value for
right and wrong ones alike, or takes too long.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import split_part
from fersweep.common.own_code.importing import place_of, say, where
from fersweep.common.own_code.separate import TooLong, ask, reply, time_limit
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables import own_metrics
from fersweep.trainables.own_metrics import OwnMetric, column, shown
from fersweep.trainables.protocol import TrialFailed

LIMIT_S = 120.0  # to load the code and to try all of it
CALL_S = 10.0  # for one call with the answers on all faces of val: a sweep makes one an epoch
LOAD_S = 60.0
RIGHT, RANDOM = "right answers", "random answers"


class Tried(NamedTuple):
    """Values of a metric: of always answering train's most frequent class, of right and of random answers. With folds, means."""

    baseline: float
    right: float
    random: float

    def remark(self, name: str, mode: str) -> str | None:
        """A line where `mode` makes wrong answers better than right ones."""
        if (self.right - self.random) * (1 if mode == "max" else -1) >= 0:
            return None
        return (
            f"stop.mode: {mode}, but {name} is {self.right:.4g} of right answers and {self.random:.4g} of random ones: is "
            f"{'min' if mode == 'max' else 'max'} meant?"
        )


def tried(names: Sequence[str], arrays: TaskArrays) -> dict[str, Tried]:
    """column → what the metric gave. Raises InputError."""
    if not names:
        return {}
    codes = {name: copies.find(split_part(name)[0], own_metrics.WHAT) for name in names}
    for code in {code.name: code for code in codes.values()}.values():
        say(code, own_metrics.WHAT)
    parts, majorities = _parts(arrays)
    with tempfile.TemporaryDirectory(prefix="fersweep-") as place:
        for code in codes.values():
            copies.write(code, Path(place))
        np.savez(Path(place) / "parts.npz", *parts)
        request = {
            "place": place,
            "names": list(names),
            "classes": arrays.classes,
            "majorities": majorities,
            "call_s": CALL_S,
            "load_s": LOAD_S,
        }
        values = ask(__name__, request, f"{own_metrics.WHAT}: {', '.join(map(shown, names))}", LIMIT_S)
    return {column(name): Tried(*values[name]) for name in names}


def _parts(arrays: TaskArrays) -> tuple[list[np.ndarray], list[int]]:
    """y of val, of each fold where there are folds, and the most frequent class of the train that belongs to it."""
    num, y = len(arrays.classes), arrays.train.y
    if arrays.folds:
        parts = [arrays.val.y[fold.val] for fold in arrays.folds]
        return parts, [int(np.bincount(y[fold.train], minlength=num).argmax()) for fold in arrays.folds]
    return [arrays.val.y], [int(np.bincount(y, minlength=num).argmax())]


def _answer(request: Mapping[str, Any]) -> dict[str, Tried]:
    """In the other process."""
    copies.note(Path(request["place"]))
    with np.load(Path(request["place"]) / "parts.npz", allow_pickle=False) as file:
        parts = [file[f"arr_{number}"] for number in range(len(request["majorities"]))]
    found: dict[str, Tried] = {}
    for name in request["names"]:
        metric = _loaded(name, request["load_s"])
        each = [
            _try(metric, y, request["classes"], majority, request["call_s"])
            for y, majority in zip(parts, request["majorities"], strict=True)
        ]
        found[name] = Tried(*np.mean(each, axis=0).tolist())
        if len({value for values in each for value in values}) == 1:
            raise InputError(
                f"{own_metrics.WHAT}: {shown(name)} gives {found[name].right:.6g} for right, for random and for constant answers: it "
                "ranks no trials"
            )
    return found


def _loaded(name: str, limit_s: float) -> OwnMetric:
    try:
        with time_limit(limit_s):
            return own_metrics.load(name)
    except TooLong as error:
        raise InputError(f"{own_metrics.WHAT}: {shown(name)}: {error} to be imported{where(error)}") from None


def _try(metric: OwnMetric, y: np.ndarray, classes: Sequence[str], majority: int, call_s: float) -> Tried:
    values: dict[str, float] = {}
    for what, probabilities in _answers(y, len(classes), majority, classes):
        values[what] = _call(metric, y, probabilities, classes, what, call_s)
        again = _call(metric, y, probabilities, classes, what, call_s) if what == RANDOM else values[what]
        if again != values[what]:
            raise InputError(
                f"{own_metrics.WHAT}: {shown(metric.name)} gives {values[what]:.6g} and then {again:.6g} for the same answers: seed what "
                "is random in it"
            )
    return Tried(values[f"always {classes[majority]}"], values[RIGHT], values[RANDOM])


def _answers(y: np.ndarray, num: int, majority: int, classes: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """What they are, and probabilities (N, C) float64."""
    yield RANDOM, np.random.default_rng(0).dirichlet(np.ones(num), len(y))
    yield RIGHT, np.eye(num)[y]
    yield f"always {classes[majority]}", np.tile(np.eye(num)[majority], (len(y), 1))
    yield "the same for all classes", np.full((len(y), num), 1 / num)


def _call(
    metric: OwnMetric, y: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], what: str, limit_s: float
) -> float:
    called, start = f"{own_metrics.WHAT}: {shown(metric.name)}", time.perf_counter()
    watched = _Watched(metric.function)
    try:
        with time_limit(limit_s):
            value = replace(metric, function=watched).value(y, probabilities, classes)
    except TooLong as error:
        raise InputError(
            f"{called}: {error} for {len(y)} faces of val, and it is computed after each epoch{where(error)}"
        ) from None
    except TrialFailed as failure:
        raise InputError(f"{called}: {failure}, of {what}") from None
    if time.perf_counter() - start > limit_s:  # in C, where nothing interrupts it
        raise InputError(f"{called}: it takes longer than {limit_s:g} s for {len(y)} faces of val")
    if watched.changed:
        raise InputError(f"{called}: it changes its {watched.changed}, which it must not{place_of(metric.function)}")
    return value


class _Watched:
    """A function, and which of its arguments it changed."""

    def __init__(self, function: Callable[..., Any]):
        self._function, self.changed = function, ""
        self.__code__ = getattr(function, "__code__", None)  # for `place_of`

    def __call__(self, y: np.ndarray, probabilities: np.ndarray, **more: list[str]) -> Any:
        before = y.copy(), probabilities.copy(), {name: list(value) for name, value in more.items()}
        value = self._function(y, probabilities, **more)
        same = {
            "y": np.array_equal(before[0], y),
            "probabilities": np.array_equal(before[1], probabilities),
            "classes": before[2] == more,
        }
        self.changed = ", ".join(name for name, is_same in same.items() if not is_same)
        return value


if __name__ == "__main__":
    reply(_answer)
