"""Results as JSON: what `--json` prints, and what the Python API's results say of themselves."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any


def as_json(result: Any) -> Any:
    """A result, or a list of them, as dicts, lists, text, numbers and None. An object's JSON is its `as_json()`, or its fields.

    Raises TypeError for what is neither.
    """
    return json.loads(json.dumps(result, default=part))


def part(value: Any) -> Any:
    """What `json.dumps` is to write in place of an object (`default=part`)."""
    if hasattr(value, "as_json"):
        return value.as_json()
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no JSON")


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


class AsJson:
    """Of a dataclass: its fields are its JSON."""

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        return as_json(_fields(self))
