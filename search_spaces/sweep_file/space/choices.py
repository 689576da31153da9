"""A choice of a categorical parameter, as Optuna, journals and pages have it.

Optuna's choices are null, true, false, numbers and texts. One that is a list, a tuple or a mapping is drawn as its JSON
text, `[64, 32]`, and the space gets the choice itself: only NarrowedTrial turns one into the other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from fersweep.common.text import one_line

Scalar = bool | int | float | str | None


def drawn_as(choice: Any) -> Scalar:
    """The choice as Optuna draws it. Raises ValueError where it cannot be written as JSON."""
    if choice is None or isinstance(choice, bool | int | float | str):
        return choice
    return _text(choice)


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same choice: a tuple is the list of its values, true is not 1, and 1 is not 1.0."""
    return _text(a) == _text(b)


def drawn_params(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters as Optuna draws them; journals of earlier versions have lists among them."""
    return {name: drawn_as(value) for name, value in params.items()}


@lru_cache(1000)
def drawn_distribution(text: str) -> str:
    """A distribution as Optuna writes it in JSON, its choices as they are drawn; earlier versions wrote lists among them."""
    if '"choices"' not in text:
        return text
    content = json.loads(text)
    choices = content["attributes"].get("choices")
    if not isinstance(choices, list):
        return text
    drawn = [drawn_as(choice) for choice in cast(list[Any], choices)]
    return (
        json.dumps({**content, "attributes": {**content["attributes"], "choices": drawn}}) if drawn != choices else text
    )


def texts(name: str, choices: Sequence[Any]) -> list[Scalar]:
    """All choices of a parameter as they are drawn. Raises ValueError where two are written alike."""
    drawn = [drawn_as(choice) for choice in choices]
    for index, text in enumerate(drawn):
        if text in drawn[:index] and not same(choices[drawn.index(text)], choices[index]):
            raise ValueError(
                f"space: {name} has {choices[drawn.index(text)]!r} and {choices[index]!r}, which are drawn alike"
            )
    return drawn


def read_list(text: str) -> list[Any]:
    """The list that was drawn as `text`. Raises ValueError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise ValueError(f"space: {one_line(text, 40)!r} is no list")
    return cast(list[Any], value)


def _text(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"space: the choice {value!r} is no text, number, list or mapping") from None
