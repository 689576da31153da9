"""The hparams of a file of the short form: the training loop's knobs, and names of its own."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping
from types import ModuleType
from typing import Annotated, Any, Union, cast

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, StrictBool, StrictInt, StrictStr, ValidationError, create_model

from fersweep.common.own_code.importing import worded
from fersweep.common.text import one_line

PROBES = 200  # random points at which a space is looked at
KINDS: dict[type, Any] = {
    bool: StrictBool,
    int: StrictInt,
    float: Annotated[float, Field(strict=True, allow_inf_nan=False)],  # takes whole numbers, too
    str: StrictStr,
    list: list[Any],
    dict: dict[str, Any],
    type(None): None,
}


class _Probe:
    """Takes the place of an Optuna trial: draws at random."""

    def __init__(self) -> None:
        self._random = random.Random(0)

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:
        return self._random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, **_: Any) -> int:
        return self._random.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._random.choice(list(choices))


def own_hparams(file: str, module: ModuleType, loop: type[BaseModel]) -> type[BaseModel]:
    """The model of the file's hparams: all fields of `loop`, and those that its space sets or that it has in HPARAMS.

    A name that the space sets always, and that has no default, has to be given; one that it sets for some trials alone is
    None for the others. Raises ValueError where space or HPARAMS are none.
    """
    defaults = _by_name(f"{file}: HPARAMS", getattr(module, "HPARAMS", {}))
    drawn = _drawn(file, module)
    fields: dict[str, Any] = {}
    for name in dict.fromkeys([*defaults, *(name for point in drawn for name in point)]):
        if name in loop.model_fields:
            continue
        if not name.isidentifier() or name.startswith("_") or hasattr(BaseModel, name):
            raise ValueError(
                f"{file}: {name!r} cannot be an hparam's name: want letters, digits and underscores, the first a letter, and no name of "
                "pydantic's own, such as copy or json"
            )
        values = [point[name] for point in drawn if name in point] + [
            value for other, value in defaults.items() if other == name
        ]
        default = plain(defaults[name]) if name in defaults else ... if len(values) == len(drawn) else None
        fields[name] = (_kind(file, name, [*values, *([None] if default is None else [])]), default)
    base, config = _with_defaults(file, loop, defaults), {"protected_namespaces": ()}
    return create_model("Hparams", __base__=base, __cls_kwargs__=config, **fields)


def _drawn(file: str, module: ModuleType) -> list[dict[str, Any]]:
    """Hparams of random points."""
    if not callable(space := getattr(module, "space", None)):
        raise ValueError(f"{file}: it has no space(trial), which returns a dict of hparams")
    probe, drawn, reason = _Probe(), list[dict[str, Any]](), ""
    for _ in range(PROBES):
        try:
            point: Any = space(probe)
        except Exception as error:  # it is somebody's code, and may refuse some points
            reason = worded(error)
            continue
        drawn.append(_by_name(f"{file}: space(trial)", point))
    if not drawn:
        raise ValueError(f"{file}: space(trial): no point can be drawn: {reason}")
    return drawn


def _by_name(what: str, value: Any) -> dict[str, Any]:
    """`value`, if it is a dict of hparams by name."""
    given = cast("dict[Any, Any]", value)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"{what}: want a dict of hparams by name, but got {one_line(repr(given), 100)}")
    return given


def _with_defaults(file: str, loop: type[BaseModel], defaults: Mapping[str, Any]) -> type[BaseModel]:
    """`loop` with the file's defaults of its knobs."""
    knobs = {name: plain(value) for name, value in defaults.items() if name in loop.model_fields}
    if not knobs:
        return loop
    try:
        valid = loop(**knobs)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{file}: HPARAMS: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    fields: dict[str, Any] = {}
    for name in knobs:
        field = copy.copy(loop.model_fields[name])
        field.default = getattr(valid, name)
        fields[name] = (field.annotation, field)
    return create_model(loop.__name__, __base__=loop, **fields)


def _kind(file: str, name: str, values: list[Any]) -> Any:
    """The type of an own name's values, for pydantic."""
    kinds: dict[type, None] = {}
    for value in map(plain, values):
        if type(value) not in KINDS or not _is_json(value):
            raise ValueError(
                f"{file}: {name} = {one_line(repr(value), 60)} cannot be written down: hparams are numbers, text, booleans, None, and "
                "lists and dicts of them; let net choose by a name"
            )
        kinds[type(value)] = None
    if float in kinds:
        kinds.pop(int, None)
    return Annotated[Union[tuple(KINDS[kind] for kind in kinds)], BeforeValidator(plain)]  # noqa: UP007  # of a tuple


def plain(value: Any) -> Any:
    """As it is read again from a file of JSON: tuples are lists, NumPy's numbers Python's."""
    if isinstance(value, np.generic):
        return cast(Any, value.item())
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in cast("dict[Any, Any]", value).items()}
    return value


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, cast("list[Any]", value)))
    if isinstance(value, dict):
        parts = cast("dict[Any, Any]", value)
        return all(isinstance(key, str) for key in parts) and all(map(_is_json, parts.values()))
    return value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
