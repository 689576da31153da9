"""Options that are fields of a dataclass (common/options.py), as keywords of a function: its signature and its docstring."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from inspect import Parameter
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from fersweep.common.options import Option

F = TypeVar("F", bound=Callable[..., Any])


def documented(*kinds: type) -> Callable[[F], F]:
    """The function's `**fields` as keywords: a parameter for each option of the dataclasses in its signature, and a line
    for each where its docstring has `{options}`.
    """

    def document(function: F) -> F:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        found = [one for kind in kinds for one in options_of(kind)]
        more = [
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=_default(field), annotation=hint)
            for field, hint, _ in found
        ]
        lines = [f"{field.name}: {option.help}" for field, _, option in found]
        wrapped = [textwrap.fill(line, 112, initial_indent=" " * 8, subsequent_indent=" " * 12) for line in lines]
        function.__doc__ = (function.__doc__ or "").replace("{options}", "\n".join(["Options:", *wrapped]))
        function.__signature__ = signature.replace(parameters=[*own, *more])  # pyright: ignore[reportFunctionMemberAccess]
        return function

    return document


def options_of(kind: type) -> Iterator[tuple[Field[Any], Any, Option]]:
    """(field, its type, what is said of it) of each option of a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            yield field, get_args(hint)[0], get_args(hint)[1]


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    assert field.default_factory is not MISSING
    return field.default_factory()
