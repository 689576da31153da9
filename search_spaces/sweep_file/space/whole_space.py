"""What a trainable's space draws when no sweep file narrows it: its parameters, and its lists of layers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from fersweep import search_spaces, trainables
from fersweep.common.text import one_line
from fersweep.search_spaces.sweep_file.space.narrowing import MOST_PARAMETERS, Call, Layers, NarrowedTrial, Probe

PROBES = 200  # random points with which a space is looked at
COUNTS = 12  # of them, for whether a parameter counts layers


def parameters(trainable: str) -> Mapping[str, Call]:
    """The parameters of a trainable's whole space."""
    return _probed(trainable)[0]


def searched_hparams(trainable: str) -> frozenset[str]:
    """Hparams that the whole space sets, for some of its points."""
    return _probed(trainable)[1]


def unsearched_hparams(trainable: str) -> frozenset[str]:
    """Hparams that the trainable's space never sets, such as `weights`; `space.fix` may set them."""
    return trainables.load(trainable).Hparams.model_fields.keys() - searched_hparams(trainable)


def widened_parameters(trainable: str, fix: dict[str, Any], ranges: dict[str, list[Any]]) -> Mapping[str, Call]:
    """The parameters of the space, with those of the layers that only a wider counter brings: `num_layers: [1, 9]`."""
    known, longest = dict(parameters(trainable)), dict[str, Any]()
    for layers in lists(trainable).values():
        counter = layers.counter
        high = [*ranges.get(counter, []), fix.get(counter)] if counter is not None else []
        wanted = max((value for value in high if type(value) is int), default=0)
        if wanted > MOST_PARAMETERS:
            raise ValueError(f"space: {counter} = {wanted} is more than the {MOST_PARAMETERS} parameters of a point")
        if counter is not None and wanted > known[counter].arguments[1]:
            longest[counter] = wanted
    if longest:
        probe = Probe()
        _draw(trainable, NarrowedTrial(probe, longest, {}), COUNTS)  # some points may have no such layers
        known = {**probe.calls, **known}
    return known


@functools.cache
def _probed(trainable: str) -> tuple[dict[str, Call], frozenset[str]]:
    """Of a probe that has drawn from the whole space: what it was asked for, and the names of the hparams that it got."""
    probe = Probe()
    return probe.calls, frozenset(name for hparams in _draw(trainable, probe, PROBES) for name in hparams)


def _draw(trainable: str, trial: Any, number: int) -> list[dict[str, Any]]:
    """Hparams of random points; the space may raise for some of them. Raises ValueError where it does for all."""
    space, drawn, reason = search_spaces.load(trainable).space, list[dict[str, Any]](), ""
    for _ in range(number):
        try:
            drawn.append(space(trial))
        except Exception as error:  # it is somebody's code
            reason = f"{type(error).__name__}: {one_line(error, 200)}"
    if not drawn:
        raise ValueError(f"{search_spaces.file_of(trainable)}: no point can be drawn: {reason}")
    return drawn


@functools.cache
def lists(trainable: str) -> Mapping[str, Layers]:
    """The hparams that are lists and are drawn layer by layer: `units` from units_0, `widths` from width_0, …"""
    found: dict[str, Layers] = {}
    for name in trainables.load(trainable).Hparams.model_fields:
        stem = next((stem for stem in (name, name.removesuffix("s")) if f"{stem}_0" in parameters(trainable)), None)
        if stem is None or name in parameters(trainable):
            continue
        layers = Layers(stem, None, 0, 0)
        layers = layers._replace(number=sum(map(layers.has, parameters(trainable))))
        for counter, call in parameters(trainable).items():
            if (more := _counts(counter, call, layers, trainable)) is not None:
                layers = layers._replace(counter=counter, more=more)
                break
        found[name] = layers
    return found


def _counts(counter: str, call: Call, layers: Layers, trainable: str) -> int | None:
    """How many layers more are drawn than this parameter says; None if it does not say how many."""
    if call.method != "suggest_int" or call.arguments[0] >= call.arguments[1]:
        return None
    differences: set[int] = set()
    for number in call.arguments:
        probe = Probe()
        try:
            _draw(trainable, NarrowedTrial(probe, {counter: number}, {}), COUNTS)  # some points may have no such layers
        except ValueError:
            return None
        differences.add(sum(map(layers.has, probe.calls)) - number)
    return differences.pop() if len(differences) == 1 else None
