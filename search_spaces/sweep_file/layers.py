"""`units: [64, 32]`, as trials' hparams have it, for `num_layers: 2, units_0: 64, units_1: 32`, as a space draws it."""

# A sweep file's content has no types before it is checked.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fersweep import search_spaces
from fersweep.search_spaces.sweep_file.narrowing import NarrowedTrial, Probe
from fersweep.search_spaces.sweep_file.searched_space import parameters

Parameters = dict[str, tuple[str, tuple[Any, ...]]]


def spread_lists(space: dict[str, Any], trainable: str, given: Collection[str] | None = None) -> None:
    """Write each list of a sweep file's `space` as the parameters of its layers. Raises ValueError.

    In `fix`, a list has a value for each layer, and sets their number; in `range`, the range holds for every layer.
    `given`: the keys of `--set`: their lists win over what the file says of the layers. None: the file's own lists.
    """
    known = parameters(trainable)
    for part, other in (("fix", "range"), ("range", "fix")):
        own = space.setdefault(part, {})
        for name, value in list(own.items()) if isinstance(own, dict) else ():
            layers = _layers(str(name), known)
            if name in known or not layers or not isinstance(value, list):
                continue
            del own[name]
            wanted = _fixed(name, layers, value, trainable, known) if part == "fix" else dict.fromkeys(layers, value)
            for parameter, layer_value in wanted.items():
                if parameter not in own or (given is not None and f"space.{part}.{parameter}" not in given):
                    own[parameter] = layer_value
                    if given is not None and f"space.{other}.{parameter}" not in given:
                        space.get(other, {}).pop(parameter, None)
                elif part == "fix" and own[parameter] != layer_value:
                    raise ValueError(
                        f"space.fix.{name}: {value} wants {parameter} = {layer_value}, but it is {own[parameter]}"
                    )


def _layers(name: str, known: Parameters) -> list[str]:
    """The parameters of a list's layers, e.g. width_0, width_1, … of `widths`."""
    for stem in (name, name.removesuffix("s")):
        if f"{stem}_0" in known:
            return [parameter for i in range(len(known)) if (parameter := f"{stem}_{i}") in known]
    return []


def _fixed(name: str, layers: list[str], values: list[Any], trainable: str, known: Parameters) -> dict[str, Any]:
    for counter, (method, bounds) in known.items():
        more = _counts(counter, bounds, layers, trainable) if method == "suggest_int" else None
        if more is None:
            continue
        low, high = bounds[0] + more, bounds[1] + more
        if not low <= len(values) <= high:
            raise ValueError(f"space.fix.{name}: {values} must have {low} to {high} values")
        return {counter: len(values) - more, **dict(zip(layers, values, strict=False))}
    if len(values) != len(layers):
        raise ValueError(f"space.fix.{name}: {values} must have {len(layers)} values: {', '.join(layers)}")
    return dict(zip(layers, values, strict=True))


def _counts(counter: str, bounds: tuple[Any, ...], layers: list[str], trainable: str) -> int | None:
    """How many layers more are drawn than this parameter says; None if it does not say how many."""
    space = search_spaces.load(trainable).space
    differences: set[int] = set()
    for number in bounds:
        probe = Probe()
        space(NarrowedTrial(probe, {counter: number}, {}))
        differences.add(sum(layer in probe.calls for layer in layers) - number)
    return differences.pop() if len(differences) == 1 and bounds[0] < bounds[1] else None
