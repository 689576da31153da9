"""Fills the Jinja files of templates/, in which every value must be quoted for the place where it stands.

Filters: `shell` (words of a command: text or a list), `yaml` (a scalar or list), `word` (as it is, which is refused where
the value has more than the characters of a word). A value without one of them is an error, but for numbers.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fersweep.common.errors import InputError

if TYPE_CHECKING:
    from jinja2 import Environment

FILES = Path(__file__).parent / "templates"


class _Quoted(str):
    """Text that may stand where it is put."""

    __slots__ = ()


def fill(name: str, **values: Any) -> str:
    """The template of that name (TARGET/FILE.jinja) with its values."""
    return _environment().get_template(name).render(values)


def fill_line(template: str, **values: Any) -> str:
    """The same of a template that is given as text."""
    return _environment().from_string(template).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 (no HTML; `_finished` refuses what is not quoted)
        loader=FileSystemLoader(FILES),
        undefined=StrictUndefined,
        finalize=_finished,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"shell": _shell, "yaml": _yaml, "word": _word}
    return environment


def _finished(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, _Quoted):
        raise TypeError(f"a template leaves {value!r} unquoted")
    return value


def _shell(words: Any) -> _Quoted:
    import shlex

    given = cast(list[Any], words) if isinstance(words, list) else [words]
    return _Quoted(" ".join(shlex.quote(str(word)) for word in given))


def _yaml(value: Any) -> _Quoted:
    """JSON, which is YAML; what YAML does not print is escaped."""
    return _Quoted(json.dumps(value))


def _word(value: Any) -> _Quoted:
    if not re.fullmatch(r"[A-Za-z0-9_.,:/@+=%*!|&()\[\]-]+", text := str(value)):
        raise InputError(f"{text!r} cannot stand unquoted in a file")
    return _Quoted(text)
