"""Fields of pydantic models as rows: their types in words, their defaults, and what they mean."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
WORDS: dict[Any, str] = {
    NoneType: "null",
    bool: "true, false",
    int: "whole number",
    float: "number",
    str: "text",
    Any: "anything",
}


def kind(annotation: Any, metadata: list[Any] | None = None) -> str:
    """A type in words: `whole number ≥ 1, or null`."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        words = kind(parts[0], [*parts[1:], *(metadata or [])])
        return words
    if origin in (Union, UnionType):
        return _alternatives([kind(part) for part in parts], metadata)
    if origin is Literal:
        words = ", ".join(f"`{value}`" for value in parts)
    elif origin in (list, tuple):
        inner = [part for part in parts if part is not Ellipsis]
        words = f"list of: {kind(inner[0])}" if inner else "list"
    elif origin is dict:
        words = f"mapping to: {kind(parts[1])}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        words = f"{{{', '.join(names(annotation))}}}"
    else:
        words = WORDS.get(annotation) or getattr(annotation, "__name__", str(annotation))
    return f"{words} {_bounds(metadata)}".strip()


def _alternatives(words: list[str], metadata: list[Any] | None) -> str:
    numbers = [word for word in words if word in ("number", "whole number")]
    if "number" in numbers and "whole number" in numbers:
        words = [word for word in words if word != "whole number"]
    words = [
        f"{word} {_bounds(metadata)}".strip() if word.endswith("number") else word for word in dict.fromkeys(words)
    ]
    return ", or ".join(words)


def _bounds(metadata: list[Any] | None) -> str:
    found = [
        f"{sign} {getattr(each, name):g}"
        for each in _flat(metadata or [])
        for name, sign in BOUNDS.items()
        if getattr(each, name, None) is not None
    ]
    return ", ".join(found)


def _flat(metadata: list[Any]) -> list[Any]:
    """Constraints, also those of a pydantic Field within Annotated."""
    return [inner for each in metadata for inner in (getattr(each, "metadata", None) or [each])]


def names(model: type[BaseModel]) -> list[str]:
    """The keys of a section, as they are written in a file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def default(field: Any) -> str:
    """A field's default as it is written in YAML; empty where it must be given."""
    if field.default_factory is not None:
        value = field.default_factory()
        return "" if isinstance(value, BaseModel) else f"`{json.dumps(value, ensure_ascii=False)}`"
    if field.default is PydanticUndefined:
        return "needed"
    if isinstance(field.default, BaseModel):
        return ""
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    text = json.dumps(value, ensure_ascii=False)
    return (
        f"`{text.strip(chr(34))}`"
        if isinstance(value, str)
        else f"`{text if not isinstance(value, float) else f'{value:.6g}'}`"
    )


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What each field means: its description, or the text below it in the source."""
    found = {name: field.description for name, field in model.model_fields.items() if field.description}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                assert isinstance(field.target, ast.Name)
                found.setdefault(field.target.id, " ".join(str(text.value.value).split()))
    return found
