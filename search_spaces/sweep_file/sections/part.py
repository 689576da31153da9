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
        first = error.errors()[0]
        option = str(first["loc"][0]) if first["loc"] else None
        if option is None or len(first["loc"]) == 1:
            message = first["msg"].removeprefix("Value error, ")
        else:  # of several kinds, each of which says why it is none
            of_kinds = (problem["msg"] for problem in error.errors() if problem["loc"][0] == option)
            message = "want " + ", or ".join(text.removeprefix("Input should be ") for text in dict.fromkeys(of_kinds))
        if option is None:
            raise ValueError(f"{key}_options: {message}") from None
        given = (
            ""
            if message.startswith(f"{key}_options") or ", but got " in message
            else f", but got {options.get(option)!r}"
        )
        raise ValueError(f"{key}_options.{option}: {message}{given}") from None
