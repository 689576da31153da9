"""What all sections of a sweep file have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fersweep.common.errors import hint


class Part(BaseModel):
    """A section: unknown keys are refused, numbers are finite, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        raise ValueError(f"{key}_options.{where}: {message}, but got {problem['input']!r}") from None
