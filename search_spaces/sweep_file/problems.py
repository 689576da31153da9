"""pydantic's first complaint about a sweep file in one line: the key, the problem, and the value."""

from __future__ import annotations

from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from fersweep.common.errors import hint


def first_problem(error: ValidationError, content: Any, schema: type[BaseModel]) -> str:
    """The first problem of `content`, which does not fit `schema`."""
    paths = [_path(problem, content) for problem in error.errors()]
    path = max(paths, key=len)  # where pydantic tried several types, the one that got furthest
    problem = error.errors()[paths.index(path)]
    where, value = ".".join(path), problem.get("input")
    if problem["type"] == "extra_forbidden":
        no_fields: dict[str, FieldInfo] = {}
        fields = schema.model_fields
        for part in path[:-1]:
            if part.isdigit():
                continue  # of a list, whose type says what its items are
            annotation = fields[part].annotation if part in fields else None
            parts = [
                {field.alias or name: field for name, field in getattr(kind, "model_fields", {}).items()}
                for kind in (annotation, *get_args(annotation))
            ]  # X, or X | None
            fields = next(filter(None, parts), no_fields)
        return f"unknown key {where!r}" + (f"; {hint(path[-1], fields)}" if fields else "")
    if problem["type"] == "missing":
        return f"{where!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    names_key = not path or message.startswith(f"{path[0]}.")  # as our own checks do
    if path[:1] == ["notify"] and path[1:2] != ["on"] and not names_key:
        return f"{where}: {message}"  # the value may be a webhook's address, which is a secret
    yaml = (
        "" if value not in (True, False) or "string" not in message else " (YAML reads yes, no, on, off so: quote them)"
    )
    return message if names_key else f"{where}: {message}, but got {value!r}{yaml}"


def _path(problem: Any, content: Any) -> list[str]:
    """The keys that lead to a problem. pydantic's `loc` also names the types that it tried: they are left out."""
    path: list[str] = []
    for part in problem["loc"]:
        inside = part in content if isinstance(content, dict) else isinstance(content, list) and isinstance(part, int)
        if inside:
            path.append(str(part))
            content = cast(Any, content)[part]
    return [*path, str(problem["loc"][-1])] if problem["type"] == "missing" else path
