"""Narrow a search space from outside: fix or restrict named parameters without touching the space's code."""

from __future__ import annotations

import math
import random
from typing import Any

from fersweep.common.errors import hint

AUTO = {"batch_size": "auto"}  # values that a trainable may choose itself, if its hparams allow it


class NarrowedTrial:
    """An Optuna trial as a space sees it. `fix` takes a parameter out of the search, `range` restricts it.

    `fix[name]` is the value; `range[name]` is `[low, high]` of a number or the list of allowed choices.
    Raises ValueError naming the parameter, the value and the space.
    """

    def __init__(self, trial: Any, fix: dict[str, Any], ranges: dict[str, list[Any]]):
        self._trial, self._fix, self._ranges = trial, fix, ranges

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if name in self._fix:
            return float(_inside(name, self._fix[name], low, high))
        low, high = self._interval(name, low, high)
        return self._trial.suggest_float(name, low, high, step=step, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> Any:
        if name in AUTO and self._fix.get(name) == AUTO[name]:
            return AUTO[name]
        if name in self._fix:
            return _whole(name, _inside(name, self._fix[name], low, high), low, high)
        low, high = (_whole(name, bound, low, high) for bound in self._interval(name, low, high))
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        if name in self._fix:
            return _chosen(name, self._fix[name], choices)
        allowed = self._ranges.get(name, choices)
        if not allowed:
            raise ValueError(f"space.range.{name}: [] allows nothing; there are {choices}")
        for choice in allowed:
            _chosen(name, choice, choices)
        return self._trial.suggest_categorical(name, [choice for choice in choices if choice in allowed])

    def _interval(self, name: str, low: float, high: float) -> tuple[float, float]:
        if name not in self._ranges:
            return low, high
        bounds = self._ranges[name]
        if len(bounds) != 2 or not all(_is_number(bound) for bound in bounds):
            raise ValueError(f"space.range.{name}: {bounds} is not [low, high] within [{low}, {high}]")
        if bounds[0] > bounds[1]:
            raise ValueError(f"space.range.{name}: low <= high must hold, but got [{bounds[0]}, {bounds[1]}]")
        return tuple(_inside(name, bound, low, high) for bound in bounds)  # type: ignore[return-value]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _inside(name: str, value: Any, low: float, high: float) -> float:
    if not _is_number(value):
        raise ValueError(f"space: {name} = {value!r} is no number; it is in [{low}, {high}]")
    if not low <= value <= high:
        raise ValueError(f"space: {name} = {value!r} is outside [{low}, {high}]")
    return value


def _whole(name: str, value: float, low: float, high: float) -> int:
    if value != int(value):
        raise ValueError(f"space: {name} = {value!r} is not a whole number in [{low}, {high}]")
    return int(value)


def _chosen(name: str, value: Any, choices: list[Any]) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    raise ValueError(f"space: {name} = {value!r} is none of {choices}")


class Probe:
    """Takes the place of an Optuna trial: draws at random, and records parameter → (method, arguments) in `calls`."""

    def __init__(self) -> None:
        self._random = random.Random(0)
        self.calls: dict[str, tuple[str, tuple[Any, ...]]] = {}

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:
        self.calls[name] = "suggest_float", (low, high)
        return self._random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, **_: Any) -> int:
        self.calls[name] = "suggest_int", (low, high)
        return self._random.randint(low, high)

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        self.calls[name] = "suggest_categorical", (choices,)
        return self._random.choice(choices)


def check_names(fix: dict[str, Any], ranges: dict[str, list[Any]], calls: dict[str, Any]) -> None:
    """Raise ValueError if a fixed or restricted name is not in the space, or its value or range does not fit the space.

    `calls`: of the whole space, see Probe. Parameters that the narrowed space never draws (units_2 of a single layer) are
    checked too: they are recorded with the sweep.
    """
    for name in sorted({*fix, *ranges} - {*calls}):
        raise ValueError(f"space: no parameter is named {name!r}; {hint(name, sorted(calls), 'its parameters')}")
    for narrowed, names in ((NarrowedTrial(Probe(), {}, ranges), ranges), (NarrowedTrial(Probe(), fix, {}), fix)):
        for name in names:
            method, arguments = calls[name]
            getattr(narrowed, method)(name, *arguments)
