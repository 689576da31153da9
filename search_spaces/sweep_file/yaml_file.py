"""Reads YAML that people write: a sweep file, or the value of a `--set`.

Tags build no objects (PyYAML's SafeLoader). Refused besides are what no sweep needs and what would hurt or mislead later:
aliases that grow without end, deep nesting, numbers beyond 64 bits, control characters, and keys that stand twice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

MAX_CHARS = 100_000
MAX_DEPTH = 20
MAX_NODES = 10_000  # with each alias counted as all that it stands for


class _Loader(yaml.SafeLoader):
    """Reads 1e-5 as the number that it is in YAML 1.2; PyYAML follows 1.1, where it is text."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                None, None, f"nested deeper than {MAX_DEPTH} levels", self.peek_event().start_mark
            )  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except (ValueError, LookupError, AttributeError):  # how PyYAML's constructors fail on `!!int x` and the like
            kind = node.tag.rpartition(":")[2]
            raise yaml.MarkedYAMLError(None, None, f"this is no {kind}", node.start_mark) from None
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise yaml.MarkedYAMLError(None, None, "a number beyond 64 bits", node.start_mark)
        return value


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(path: Path) -> Any:
    """The value in a file. Raises ValueError (one line, without the path) or OSError."""
    with path.open(encoding="utf-8") as file:
        return load(file.read(MAX_CHARS + 1))  # no more: it may be a device, or the wrong file


def load(text: str) -> Any:
    """The value that `text` means; None where it is empty. Raises ValueError: one line that says what is wrong."""
    if len(text) > MAX_CHARS:
        raise ValueError(f"more than {MAX_CHARS:,} characters are no sweep")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _num_nodes(node, {})
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an escape that is no character
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None


def _num_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Nodes below `node` with all aliases written out. Refuses too many, endless ones, and keys that stand twice."""
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.MarkedYAMLError(None, None, "an alias within what it stands for", node.start_mark)
        return known[id(node)]
    known[id(node)] = 0
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        _refuse_twice(node)
        parts = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif yaml.reader.Reader.NON_PRINTABLE.search(node.value):
        raise yaml.MarkedYAMLError(None, None, "a control character", node.start_mark)
    known[id(node)] = 1 + sum(_num_nodes(part, known) for part in parts)
    if known[id(node)] > MAX_NODES:
        raise yaml.MarkedYAMLError(None, None, f"aliases stand for more than {MAX_NODES:,} values", node.start_mark)
    return known[id(node)]


def _refuse_twice(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add((key.tag, key.value))
