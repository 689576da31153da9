"""Reads YAML that people write: a sweep file, or the value of a `--set`.

Tags build no objects (PyYAML's SafeLoader). Refused besides are what no sweep needs and what would hurt or mislead later:
aliases, which can grow without end, deep nesting, numbers beyond 64 bits, control characters, and keys that are there twice.
"""

# Parts of PyYAML have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fersweep.common.display.tables import short
from fersweep.common.errors import InputError

MAX_CHARS = 100_000


class _Loader(yaml.SafeLoader):
    """Reads 1e-5 as the number that it is in YAML 1.2; PyYAML follows 1.1, where it is text. A key is text, also `on` and
    `no`, which are true and false in 1.1.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise _error("an alias; write out what it stands for", self.peek_event())
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.MappingNode):
            keys = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and keys[key.tag, key.value] > 1:
                    raise _error(f"the key {key.value!r} is there twice", key)
                if key.tag == "tag:yaml.org,2002:bool":
                    key.tag = "tag:yaml.org,2002:str"
        if isinstance(node, yaml.ScalarNode) and self.NON_PRINTABLE.search(node.value):
            raise _error("a control character", node)
        try:
            value = super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except (ValueError, LookupError, AttributeError):  # how PyYAML's constructors fail on `!!int x` and the like
            raise _error(f"this is no {node.tag.rpartition(':')[2]}", node) from None
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise _error("a number beyond 64 bits", node)
        return value


def _error(what: str, at: Any) -> yaml.MarkedYAMLError:
    """`at`: the node or event where it is wrong."""
    return yaml.MarkedYAMLError(None, None, what, at.start_mark)


FLOAT = "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
_Loader.add_implicit_resolver(*FLOAT)


def read(path: Path) -> Any:
    """The value in a file. Raises ValueError (one line, without the path) or OSError."""
    with path.open(encoding="utf-8") as file:
        return load(file.read(MAX_CHARS + 1))  # no more: it may be a device, or the wrong file


class _Dumper(yaml.SafeDumper):
    """Writes what Python code has in place of plain values: tuples, paths, NumPy's numbers."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_other(self, data: Any) -> yaml.Node:
        if isinstance(data, Path):
            return self.represent_data(str(data))
        if hasattr(data, "tolist"):
            return self.represent_data(data.tolist())
        raise ValueError(f"{type(data).__name__} {short(data)!r} is no value of a sweep file")


_Dumper.add_representer(None, _Dumper.represent_other)  # pyright: ignore[reportArgumentType]
_Dumper.add_implicit_resolver(*FLOAT)


def dump(value: Any) -> str:
    """A value of Python as YAML of one line. Raises InputError for what has none."""
    try:
        return yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=MAX_CHARS).removesuffix("...\n").strip()
    except RecursionError:
        raise InputError("sweep: nested too deep, or a part contains itself") from None
    except ValueError as error:
        raise InputError(f"sweep: {error}") from None


def plain(content: Mapping[str, Any]) -> Any:
    """The content of a sweep file that was written as Python's values, as if it had been read from one. InputError."""
    try:
        return load(dump(dict(content)))
    except ValueError as error:
        raise InputError(str(error) if isinstance(error, InputError) else f"sweep: {error}") from None


def load(text: str) -> Any:
    """The value that `text` means; None where it is empty. Raises ValueError: one line that says what is wrong."""
    if len(text) > MAX_CHARS:
        raise ValueError(f"more than {MAX_CHARS:,} characters are no sweep")
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError("not YAML: nested too deep") from None
    except yaml.MarkedYAMLError as error:  # its own text quotes the line, which may hold a password
        at = error.problem_mark or error.context_mark
        where = "" if at is None else f", line {at.line + 1}, column {at.column + 1}"
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise ValueError(f"not YAML: {what}{where}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an escape that is no character
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None
