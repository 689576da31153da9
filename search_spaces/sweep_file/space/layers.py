"""`units: [64, 32]`, as trials' hparams have it, for `num_layers: 2, units_0: 64, units_1: 32`, as a space draws it."""

# A sweep file's content has no types before it is checked.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fersweep.search_spaces.sweep_file.space.narrowing import MOST_PARAMETERS, Layers, outside
from fersweep.search_spaces.sweep_file.space.whole_space import lists, parameters
from fersweep.search_spaces.sweep_file.space.widening import refusal


def spread_lists(space: dict[str, Any], trainable: str, given: Collection[str] | None = None) -> None:
    """Write each list of a sweep file's `space` as the parameters of its layers. Raises ValueError.

    In `fix`, a list has a value for each layer, and sets their number; in `range`, the range holds for every layer, and
    lists in it are choices, each of which sets all layers: these stay as they are, without the layers' own parameters.
    `given`: the keys of `--set`: their lists win over what the file says of the layers. None: the file's own lists.
    """
    known = lists(trainable)
    for part, other in (("fix", "range"), ("range", "fix")):
        space.setdefault(part, {})
        own = _of(space, part)
        for name, value in list(own.items()):
            if name not in known or (part == "range" and not isinstance(value, list)):
                continue
            layers, key = known[name], f"space.{part}.{name}"
            if part == "range" and any(isinstance(choice, list) for choice in value):
                _choices(space, key, layers, value, trainable, given)
                continue
            del own[name]
            wanted = _fixed(key, layers, value, trainable) if part == "fix" else _ranges(key, layers, value, space)
            for parameter, layer_value in wanted.items():
                if parameter not in own or (given is not None and f"space.{part}.{parameter}" not in given):
                    own[parameter] = layer_value
                    if given is not None and f"space.{other}.{parameter}" not in given:
                        _of(space, other).pop(parameter, None)
                elif part == "fix" and own[parameter] != layer_value:
                    raise ValueError(f"{key}: {value} wants {parameter} = {layer_value}, but it is {own[parameter]}")


def _fixed(key: str, layers: Layers, values: Any, trainable: str) -> dict[str, Any]:
    """The parameters that fix a list."""
    if not isinstance(values, list):
        raise ValueError(f"{key}: {values!r} is no list: want a value for each layer, such as [{values!r}, {values!r}]")
    if layers.counter is None and len(values) != layers.number:
        names = ", ".join(f"{layers.stem}_{i}" for i in range(layers.number))
        raise ValueError(f"{key}: {values} must have {layers.number} values: {names}")
    if len(values) > MOST_PARAMETERS:
        raise ValueError(f"{key}: {len(values)} values are more than the {MOST_PARAMETERS} parameters of a point")
    fixed = layers.parameters(values)
    _judge(key, values, fixed, trainable)
    return fixed


def _judge(key: str, values: list[Any], point: dict[str, Any], trainable: str) -> None:
    """Raises ValueError where hparams refuse a list, unless all of it is in the space file's bounds."""
    calls = parameters(trainable)
    if all(name in calls and not outside(name, calls[name], [value]) for name, value in point.items()):
        return
    if (reason := refusal(trainable, point)) is not None:
        raise ValueError(f"{key}: {values}: {reason}")


def _ranges(key: str, layers: Layers, bounds: list[Any], space: dict[str, Any]) -> dict[str, Any]:
    """The parameters whose range that of a list is: of all layers that its counter may ask for."""
    if len(bounds) != 2:
        raise ValueError(
            f"{key}: {bounds} is not [low, high] of each layer; choices are lists: {[bounds or [64], [64, 32]]}"
        )
    number = layers.number
    counts = [_of(space, part).get(layers.counter or "") for part in ("fix", "range")]
    for count in counts:
        for value in count if isinstance(count, list) else [count]:
            if type(value) is int and value <= MOST_PARAMETERS:
                number = max(number, value + layers.more)
    return {f"{layers.stem}_{i}": bounds for i in range(number)}


def _choices(
    space: dict[str, Any], key: str, layers: Layers, choices: list[Any], trainable: str, given: Collection[str] | None
) -> None:
    """Check the choices of a whole list; what the file says of its layers gives way to those of a `--set`."""
    for choice in choices:
        if not isinstance(choice, list):
            raise ValueError(
                f"{key}: {choices} has {choice!r} beside lists: want [low, high], or a list for each choice"
            )
        _fixed(key, layers, choice, trainable)
    lengths = {len(choice) for choice in choices}
    for part in ("fix", "range"):
        own = _of(space, part)
        for parameter in filter(layers.sets, map(str, list(own))):
            count = own.get(parameter)
            if (
                part == "fix"
                and parameter == layers.counter
                and type(count) is int
                and lengths == {count + layers.more}
            ):
                continue
            if given is None or key not in given or f"space.{part}.{parameter}" in given:
                raise ValueError(f"{key}: its choices set {parameter}, which is in space.{part}, too: want one of them")
            own.pop(parameter)
    for other, others in lists(trainable).items():
        if others is layers or others.counter != layers.counter or layers.counter in (None, *_of(space, "fix")):
            continue
        chosen = _of(space, "range").get(other)
        if isinstance(chosen, list) and any(isinstance(choice, list) for choice in chosen):
            raise ValueError(
                f"{key}: {other} has choices, too, and both set {layers.counter}: want it in space.fix, or one of them"
            )


def _of(space: dict[str, Any], part: str) -> dict[str, Any]:
    own = space.get(part)
    return own if isinstance(own, dict) else {}
