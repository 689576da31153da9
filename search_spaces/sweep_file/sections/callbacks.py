"""Somebody's own code that hears of a sweep: `callbacks` in a sweep file.

callbacks:
  - my_callbacks.py:Slack
  - {class: "my_callbacks.py:Table", options: {path: trials.csv}}      # Table(path="trials.csv")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from pydantic import ConfigDict, Field, field_validator

from fersweep.common.own_code.code import asked_as, is_own_part, split_part
from fersweep.common.own_code.named import resolve_part
from fersweep.search_spaces.sweep_file.sections.part import Part

GROUP = "fersweep.callbacks"  # of entry points
WHAT = "callbacks"
MOST = 16  # a process each


class Callback(Part):
    """kind: `class` in the sweep file, with its code's digits; options: what it is made with, by name."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=False)

    kind: str = Field(alias="class")
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("kind")
    @classmethod
    def _is_own(cls, value: str) -> str:
        if not is_own_part(value):
            raise ValueError(f"callbacks: {value!r} is no class of your own: want FILE.py:CLASS")
        return value

    @property
    def shown(self) -> str:
        """As people call it: `my_callbacks.py:Slack`."""
        code, name = split_part(self.kind)
        return f"{asked_as(code)}:{name}"


def as_list(value: Any) -> Any:
    """`callbacks` of a sweep file, one or several, as a list of mappings; what is none, as it is."""
    if isinstance(value, (str, dict)):
        value = [value]
    if not isinstance(value, list):
        return [] if value is None else value
    return [{"class": each} if isinstance(each, str) else each for each in cast("list[Any]", value)]


def resolve_callbacks(content: dict[str, Any], beside: Path | None) -> None:
    """Name the classes in a sweep file's content with their code's digits. Raises InputError."""
    asked: Any = as_list(content.get("callbacks"))
    for each in cast("list[Any]", asked) if isinstance(asked, list) else ():
        if isinstance(each, dict) and isinstance(kind := cast("dict[str, Any]", each).get("class"), str):
            each["class"] = resolve_part(kind, WHAT, GROUP, "CLASS", beside)
    if asked:
        content["callbacks"] = asked
