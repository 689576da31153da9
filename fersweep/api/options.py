"""What a function of the API takes: options that are fields of a dataclass (common/options.py), as keywords in its signature
and its docstring; and whether what was given is of the types that its annotations name.
"""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache, wraps
from inspect import Parameter
from numbers import Integral, Real
from reprlib import repr as shown
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from fersweep.common.errors import InputError
from fersweep.common.options import Option

F = TypeVar("F", bound=Callable[..., Any])
ALIASES = {
    "Place": "Path",
    "Overrides": "Mapping[str, Any] | Sequence[str]",
    "Image": "Path | ndarray",
    "Data": "Path | Description",
}
CLASSES = {  # by its name, as it may not be loaded → its place, and what a person calls it
    "Description": ("fersweep.data_pipeline.describe.description.Description", "what fersweep.prepare returned"),
    "Model": ("fersweep.api.models.Model", "a fersweep.Model"),
    "Options": ("fersweep.data_pipeline.prepare.options.Options", "a fersweep.PrepareOptions"),
    "SweepFile": ("fersweep.search_spaces.sweep_file.schema.Sweep", "what fersweep.read_sweep returned"),
    "ndarray": ("numpy.ndarray", "an array"),
}


def documented(*kinds: type) -> Callable[[F], F]:
    """The function's `**fields` as keywords: a parameter for each option of the dataclasses in its signature, and a line
    for each where its docstring has `{options}`.
    """

    def document(function: F) -> F:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        found = [one for kind in kinds for one in options_of(kind)]
        more = [
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=_default(field), annotation=_given(hint, option))
            for field, hint, option in found
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


def _given(hint: Any, option: Option) -> Any:
    """What may be given for a field: also what the command line takes, but for a mapping's pairs."""
    return hint if option.given is None or get_origin(option.given) is list else hint | option.given


def checked(function: F) -> F:
    """The function, which raises InputError for an argument that is not of its parameter's type; of a class, its methods."""
    if inspect.isclass(function):
        for name, method in [*vars(function).items()]:
            if inspect.isfunction(method) and not name.startswith("_"):
                setattr(function, name, checked(method))
        return cast("F", function)
    parameters = inspect.signature(function).parameters
    positional = [one.name for one in parameters.values() if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
    several = [one.name for one in parameters.values() if one.kind is Parameter.VAR_POSITIONAL]

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        names = positional + several * len(arguments)
        for name, value in [*zip(names, arguments, strict=False), *options.items()]:
            if name not in parameters:  # what Python, or the function, says of it
                continue
            kind = kind_of(parameters[name].annotation)
            if not kind.takes(value):
                got = f"{shown(value)} ({type(value).__name__})"
                raise InputError(f"{function.__qualname__}: {name}: want {kind.words}, but got {got}")
        return function(*arguments, **options)

    return call  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Kind:
    """What a parameter takes. words: for a person. classes: whose objects it takes, but for those of `no`."""

    words: str
    classes: tuple[type, ...] = ()
    no: tuple[type, ...] = ()

    def takes(self, value: Any) -> bool:
        return isinstance(value, self.classes) and not isinstance(value, self.no)


@dataclass(frozen=True)
class Named(Kind):
    """An object of a class that may not be loaded."""

    place: str = ""

    def takes(self, value: Any) -> bool:
        return any(self.place == f"{one.__module__}.{one.__qualname__}" for one in type(value).__mro__)


@dataclass(frozen=True)
class Either(Kind):
    kinds: tuple[Kind, ...] = ()

    def takes(self, value: Any) -> bool:
        return any(kind.takes(value) for kind in self.kinds)


@dataclass(frozen=True)
class Several(Kind):
    """A list; number: of its parts, None: any."""

    kinds: tuple[Kind, ...] = ()
    number: int | None = None

    def takes(self, value: Any) -> bool:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            return False
        parts = cast("Sequence[Any]", value)
        kinds = self.kinds if self.number else self.kinds * len(parts)
        return len(parts) == len(kinds) and all(kind.takes(part) for kind, part in zip(kinds, parts, strict=True))


NONE = Kind("None", (type(None),))
PLAIN = {
    "Any": Kind("anything", (object,)),
    "Callable": Kind("a function", (Callable,)),  # pyright: ignore[reportArgumentType]
    "Literal": Kind("text", (str,)),  # which one, the function checks
    "Mapping": Kind("a mapping", (Mapping,)),
    "Path": Kind("a path", (str, os.PathLike)),
    "bool": Kind("True or False", (bool,)),
    "float": Kind("a number", (Real,), (bool,)),
    "int": Kind("a whole number", (Integral,), (bool,)),
    "str": Kind("text", (str,)),
}


@cache
def kind_of(annotation: Any) -> Kind:
    """Of a parameter, whose annotation may name what is not loaded. KeyError for what is not known here."""
    if annotation is Parameter.empty:  # `self`
        return PLAIN["Any"]
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return _kind(ast.parse(text, mode="eval").body)


def _kind(node: ast.expr) -> Kind:
    if isinstance(node, ast.BinOp):
        return _either(_kind(node.left), _kind(node.right))
    if isinstance(node, ast.Constant):
        return NONE
    inside: list[ast.expr] = []
    if isinstance(node, ast.Subscript):
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        node = node.value
    name = node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)
    if name in ALIASES:
        return kind_of(ALIASES[name])
    if name in CLASSES:
        place, words = CLASSES[name]
        return Named(words, place=place)
    if name == "Optional":
        return _either(_kind(inside[0]), NONE)
    if name == "tuple":
        kinds = tuple(map(_kind, inside))
        return Several(f"({', '.join(kind.words for kind in kinds)})", kinds=kinds, number=len(kinds))
    if name == "Sequence":
        kind = _kind(inside[0])
        return Several(f"a list ({kind.words})", kinds=(kind,))
    return PLAIN[name]


def _either(a: Kind, b: Kind) -> Kind:
    return Either(f"{a.words} or {b.words}", kinds=(a, b))
