"""What a sweep file asks for beyond the bounds of the space file, and whether the trainable's hparams allow it.

A space file's bounds are a proposal: `beta_1: 0.999` may be searched where it says 0.99. What is possible is for the
trainable's Hparams to say, which judge a value in some points that have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError

from fersweep import search_spaces, trainables
from fersweep.common.text import one_line
from fersweep.search_spaces.sweep_file.schema import Space
from fersweep.search_spaces.sweep_file.space.choices import same
from fersweep.search_spaces.sweep_file.space.narrowing import Call, Layers, NarrowedTrial, Probe, outside
from fersweep.search_spaces.sweep_file.space.whole_space import (
    PROBES,
    lists,
    parameters,
    searched_hparams,
    widened_parameters,
)

ENOUGH = 20  # points that were refused


class Wider(NamedTuple):
    """A value that the space file does not draw.

    Attributes:
        key: `space.range.units`, where the sweep file has it.
        name: of the parameter, or of the list whose layers have the value.
        value: of it.
        point: the parameters that say so.
        there: what the space file has.
    """

    key: str
    name: str
    value: Any
    point: dict[str, Any]
    there: str


def wider(trainable: str, space: Space) -> list[Wider]:
    """All that `fix` and `range` have beyond the space file's bounds."""
    calls, own = widened_parameters(trainable, space.fix, space.range), lists(trainable)
    found: list[Wider] = []
    for part, values in (("fix", {name: [value] for name, value in space.fix.items()}), ("range", space.range)):
        for name in sorted(values):
            if name in calls:
                shown = next((known for known, layers in own.items() if layers.has(name)), name)
                found += [
                    Wider(f"space.{part}.{name}", shown, value, {name: value}, _there(calls[name]))
                    for value in outside(name, calls[name], values[name])
                ]
            elif part == "range" and name in own:
                found += list(_wider_lists(name, own[name], values[name], calls))
    return found


def _wider_lists(name: str, layers: Layers, choices: list[Any], calls: Any) -> Iterator[Wider]:
    for choice in choices:
        point = layers.parameters(choice)
        for parameter, value in point.items():
            call = calls.get(parameter) or calls[f"{layers.stem}_0"]
            if outside(parameter, call, [value]):
                yield Wider(f"space.range.{name}", name, choice, point, f"{parameter} {_there(call)}")
                break


def _there(call: Call) -> str:
    if call.method == "suggest_categorical":
        return one_line(", ".join(map(str, call.arguments[0])), 80)
    low, high = call.arguments
    return f"{low:g} to {high:g}"


def check_wider(trainable: str, space: Space) -> None:
    """Raises ValueError, which says what is allowed, where the trainable's hparams refuse what is wider."""
    for each in wider(trainable, space):
        reason = refusal(trainable, each.point)
        if reason is not None and refusal(trainable, each.point, space) is not None:
            raise ValueError(f"{each.key}: {reason}")


def refusal(trainable: str, point: dict[str, Any], space: Space | None = None) -> str | None:
    """Why no point of the space that has these values can be built; None where one can.

    `space`: what else is asked for; None: the other values are those of the whole space.
    """
    fix, ranges, by_list = dict(point), dict[str, list[Any]](), dict[str, Layers]()
    if space is not None:
        searched = searched_hparams(trainable) | widened_parameters(trainable, space.fix, space.range).keys()
        fix = {**{name: value for name, value in space.fix.items() if name in searched}, **point}
        ranges = {name: bounds for name, bounds in space.range.items() if name not in fix}
        by_list = {
            name: layers for name, layers in lists(trainable).items() if name in ranges and layers.counter not in fix
        }
    model, draw = trainables.load(trainable).Hparams, search_spaces.load(trainable).space
    reasons, raised, probe = Counter[str](), Counter[str](), Probe()
    for _ in range(PROBES):
        trial = NarrowedTrial(probe, fix, ranges, by_list)
        try:
            hparams = model(**draw(trial)).model_dump(mode="json")
        except ValidationError as error:
            reason = complaint(error, point)
        except Exception as error:  # the space is somebody's code
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raised[kind + one_line(error, 200).removeprefix("space: ")] += bool(point.keys() & trial.given.keys())
            continue
        else:
            if not point.keys() <= trial.given.keys():
                continue
            reason = _changed(trainable, trial, hparams, point)
            if reason is None:
                return None
        reasons[reason] += bool(point.keys() & trial.given.keys())
        if reasons.total() >= ENOUGH:
            break
    commonest = (reasons if reasons.total() else raised).most_common(1)
    return commonest[0][0] if commonest and commonest[0][1] else None


def _changed(trainable: str, trial: NarrowedTrial, hparams: dict[str, Any], point: dict[str, Any]) -> str | None:
    """What is wrong with values although hparams could be built. A choice has to arrive as it is: of a switch (`use_…`), or
    of what is taken for something else, nobody could say whether it is one. A counter has to have its layers.
    """
    for name, value in point.items():
        call = parameters(trainable).get(name)
        choices = call.arguments[0] if call is not None and call.method == "suggest_categorical" else None
        if choices is not None and (name not in hparams or not same(hparams[name], value)):
            return f"{value!r} is none of {list(choices)}"
        for list_name, layers in lists(trainable).items():
            if name == layers.counter and sum(map(layers.has, trial.given)) != value + layers.more:
                return f"{value} is no number of {list_name}"
    return None


def complaint(error: ValidationError, point: dict[str, Any] | None = None) -> str:
    """pydantic's first complaint about hparams in one line; without the name of the one value of `point`."""
    problem = error.errors()[0]
    where, message = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
    if not where:
        return message
    name = "" if point is not None and list(point) == [where] else f"{where}: "
    return f"{name}{message}, but got {problem['input']!r}"
