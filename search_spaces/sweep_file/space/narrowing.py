"""Narrow or widen a search space from outside: fix parameters or give them other bounds without touching the space's code."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fersweep.common.errors import hint
from fersweep.search_spaces.sweep_file.space.choices import same, texts

AUTO = {"batch_size": "auto"}  # values that a trainable may choose itself, if its hparams allow it
MOST_PARAMETERS = 1000  # of a point: a space whose loop is told to go on for ever ends


class Layers(NamedTuple):
    """A list of hparams whose values a space draws one by one, such as `units`.

    Attributes:
        stem: of its parameters: units_0, units_1, …
        counter: the parameter that says how many there are; None: their number is always the same.
        more: how many there are more than the counter says.
        number: how many the space file draws at most.
    """

    stem: str
    counter: str | None
    more: int
    number: int

    def parameters(self, values: list[Any]) -> dict[str, Any]:
        """The parameters that give the list these values."""
        own = {} if self.counter is None else {self.counter: len(values) - self.more}
        return {**own, **{f"{self.stem}_{i}": value for i, value in enumerate(values)}}

    def values(self, point: Mapping[str, Any]) -> list[Any]:
        """The list that a point's parameters give. Raises ValueError where one is missing."""
        count = self.number - self.more if self.counter is None else point.get(self.counter)
        names = (
            [f"{self.stem}_{i}" for i in range(min(count + self.more, MOST_PARAMETERS))] if type(count) is int else []
        )
        if type(count) is not int or not all(name in point for name in names):
            raise ValueError(
                f"space: the point does not have all of {self.counter or ''} {self.stem}_0, {self.stem}_1, …"
            )
        return [point[name] for name in names]

    def has(self, parameter: str) -> bool:
        """Whether a parameter is the value of one layer."""
        stem, _, index = parameter.rpartition("_")
        return stem == self.stem and index.isdecimal()

    def sets(self, parameter: str) -> bool:
        """Whether a parameter has no say where the whole list is given."""
        return parameter == self.counter or self.has(parameter)


class NarrowedTrial:
    """An Optuna trial as a space sees it. `fix` takes a parameter out of the search, `range` gives it other bounds.

    `fix[name]` is the value; `range[name]` is `[low, high]` of a number or the list of choices. Both may be wider than the
    space: whether they may is for the trainable's hparams to say (widening.py). A log scale stays one.
    Raises ValueError naming the parameter, the value and the space.

    Args:
        lists: of those in `range` that choose among whole lists: `units: [[64], [64, 32]]`.

    Attributes:
        given: what the space has got so far, by parameter.
        error: what the trial itself raised, as a sampler may; None: what a space raises is its own.
    """

    def __init__(
        self, trial: Any, fix: dict[str, Any], ranges: dict[str, list[Any]], lists: Mapping[str, Layers] | None = None
    ):
        self._trial, self._fix, self._ranges = trial, fix, ranges
        self._lists = lists or {}
        self.given: dict[str, Any] = {}
        self.error: Exception | None = None

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        known, value = self._known(name)
        if known:
            return self._give(name, float(_number(name, value, low, high)))
        low, high = self._interval(name, low, high, log)
        return self._give(name, self._draw(self._trial.suggest_float, name, low, high, step=step, log=log))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> Any:
        known, value = self._known(name)
        if known and name in AUTO and value == AUTO[name]:
            return self._give(name, value)
        if known:
            return self._give(name, _whole(name, _number(name, value, low, high), low, high))
        low, high = (_whole(name, bound, low, high) for bound in self._interval(name, low, high, log))
        return self._give(name, self._draw(self._trial.suggest_int, name, low, high, step=step, log=log))

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        known, value = self._known(name)
        if known:
            return self._give(name, _own(value, choices))
        if name not in self._ranges:
            return self._give(name, self._choose(name, choices))
        allowed = self._ranges[name]
        if not allowed:
            raise ValueError(f"space.range.{name}: [] allows nothing; there are {choices}")
        narrowed = [choice for choice in choices if any(same(choice, other) for other in allowed)]
        for choice in allowed:
            if not any(same(choice, other) for other in narrowed):
                narrowed.append(choice)
        return self._give(name, self._choose(name, narrowed))

    def _known(self, name: str) -> tuple[bool, Any]:
        """Whether a parameter is not drawn on its own, and its value."""
        if name in self._fix:
            return True, self._fix[name]
        for list_name, layers in self._lists.items():
            if layers.sets(name):
                point = layers.parameters(self._values(list_name))
                return name in point, point.get(name)
        return False, None

    def _values(self, name: str) -> list[Any]:
        """The list that this trial has in place of single layers, drawn when the first of them is asked for."""
        if name not in self.given:
            self._give(name, list(self._choose(name, self._ranges[name])))
        return self.given[name]

    def _choose(self, name: str, choices: list[Any]) -> Any:
        drawn = texts(name, choices)
        chosen = self._draw(self._trial.suggest_categorical, name, drawn)
        for choice, text in zip(choices, drawn, strict=True):
            if type(text) is type(chosen) and text == chosen:
                return choice
        raise ValueError(f"space: {name} = {chosen!r} is none of {choices}")

    def _draw(self, suggest: Callable[..., Any], name: str, *arguments: Any, **options: Any) -> Any:
        try:
            return suggest(name, *arguments, **options)
        except Exception as error:
            self.error = error
            raise

    def _give(self, name: str, value: Any) -> Any:
        self.given[name] = value
        if len(self.given) > MOST_PARAMETERS:
            raise ValueError(f"space: a point has more than {MOST_PARAMETERS} parameters")
        return value

    def _interval(self, name: str, low: float, high: float, log: bool) -> tuple[float, float]:
        if name not in self._ranges:
            return low, high
        bounds = self._ranges[name]
        if len(bounds) != 2 or not all(_is_number(bound) for bound in bounds):
            raise ValueError(f"space.range.{name}: {bounds} is not [low, high], such as [{low}, {high}]")
        if bounds[0] > bounds[1]:
            raise ValueError(f"space.range.{name}: low <= high must hold, but got [{bounds[0]}, {bounds[1]}]")
        if log and bounds[0] <= 0:
            raise ValueError(f"space.range.{name}: {bounds} is on a log scale: low must be above 0")
        return bounds[0], bounds[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(name: str, value: Any, low: float, high: float) -> float:
    if not _is_number(value):
        raise ValueError(f"space: {name} = {value!r} is no number; it is in [{low}, {high}]")
    return value


def _whole(name: str, value: float, low: float, high: float) -> int:
    if value != int(value):
        raise ValueError(f"space: {name} = {value!r} is not a whole number, such as those in [{low}, {high}]")
    return int(value)


def _own(value: Any, choices: list[Any]) -> Any:
    """The space's own choice where it has this one: its tuple for a sweep file's list."""
    return next((choice for choice in choices if same(choice, value)), value)


class Call(NamedTuple):
    """How a space asks for a parameter: method of an Optuna trial, and its arguments after the name."""

    method: str
    arguments: tuple[Any, ...]
    log: bool = False


class Probe:
    """Takes the place of an Optuna trial: draws at random, and records parameter → Call in `calls`."""

    def __init__(self) -> None:
        self._random = random.Random(0)
        self.calls: dict[str, Call] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False, **_: Any) -> float:
        self.calls[name] = Call("suggest_float", (low, high), log)
        return self._random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False, **_: Any) -> int:
        self.calls[name] = Call("suggest_int", (low, high), log)
        return self._random.randint(low, high)

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        self.calls[name] = Call("suggest_categorical", (choices,))
        return self._random.choice(choices)


def check_names(
    fix: dict[str, Any], ranges: dict[str, list[Any]], calls: Mapping[str, Call], lists: Mapping[str, Layers]
) -> None:
    """Raise ValueError if a name in `fix` or `range` is not in the space, or its value or range is of another kind.

    `calls`: of the whole space, see Probe; `lists`: those of its lists of layers. Parameters that the narrowed space never
    draws (units_2 of a single layer) are checked too: they are recorded with the sweep.
    """
    for name in sorted({*fix, *ranges} - {*calls}):
        if name not in lists or not isinstance(ranges.get(name), list):
            known = sorted({*calls, *lists})
            raise ValueError(f"space: no parameter is named {name!r}; {hint(name, known, 'its parameters')}")
    for narrowed, names in ((NarrowedTrial(Probe(), {}, ranges), ranges), (NarrowedTrial(Probe(), fix, {}), fix)):
        for name in names:
            if name in calls:
                method, arguments, log = calls[name]
                getattr(narrowed, method)(name, *arguments, **({"log": True} if log else {}))


def outside(name: str, call: Call, values: list[Any]) -> list[Any]:
    """Those of the values of a parameter that the space file does not draw."""
    if call.method == "suggest_categorical":
        return [value for value in values if not any(same(value, choice) for choice in call.arguments[0])]
    low, high = call.arguments
    return [value for value in values if not _is_number(value) or not low <= value <= high]
