"""What all sections of a sweep file have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import ConfigDict, ValidationError

from fersweep.common.errors import hint
from fersweep.data_pipeline.tasks.spec import Section


class Part(Section):
    """A section beside `task:`, whose numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


def filled_in(key: str, name: str, registry: Mapping[str, type[Part]], options: dict[str, Any]) -> dict[str, Any]:
    """The options of what a sweep file names under `key`, those that it leaves out with their defaults.

    So a recorded sweep holds them all, and a later version's defaults change nothing in it. Raises ValueError.
    """
    if name not in registry:
        raise ValueError(f"{key}: there is no {name!r}; {hint(name, sorted(registry), 'names')}")
    kind = registry[name]
    for option in options:
        if option not in kind.model_fields:
            known = hint(option, sorted(kind.model_fields), "its options") if kind.model_fields else "it has none"
            raise ValueError(f"{key}_options.{option}: {name} has no such option; {known}")
    try:
        return kind.model_validate(options).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        where, given = _place(first["loc"], options)
        name_of_it = ".".join([f"{key}_options", *where])
        kinds = [problem["msg"] for problem in error.errors() if _place(problem["loc"], options)[0] == where]
        if len(kinds) > 1:  # a value may be of several kinds, each of which says why it is none
            message = "want " + ", or ".join(text.removeprefix("Input should be ") for text in dict.fromkeys(kinds))
        else:
            message = first["msg"].removeprefix("Value error, ")
        if not where or ", but got " in message:
            raise ValueError(f"{name_of_it}: {message}") from None
        raise ValueError(f"{name_of_it}: {message}, but got {given!r}") from None


def _place(loc: tuple[int | str, ...], options: dict[str, Any]) -> tuple[list[str], Any]:
    """The keys that lead to a problem, and what is there; pydantic's `loc` also names the kinds that it tried."""
    keys: list[str] = []
    value: object = options
    for part in loc:
        if isinstance(value, dict) and part in value:
            keys.append(str(part))
            value = cast("dict[Any, Any]", value)[part]
    return keys, cast(Any, value)
