"""A piece of somebody's own code: a file or a module of a package, and what it imports from beside it.

    code = Code.of("my_model", {"my_model.py": b"…", "blocks.py": b"…"}, "my_model.py")
    code.name          # my_model.py@3f2a9c81d0e4: this content under that name, wherever it is

The name has the first DIGITS hex digits of the sha256 of all files, so that two versions of a file are two pieces of code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeGuard

DIGITS = 12
NAME = re.compile(rf"(?P<asked>[^@/\\]+)@(?P<digits>[0-9a-f]{{{DIGITS}}})")
PART = re.compile(r"(?P<code>.+):(?P<part>[^\W\d]\w*)")


def is_own(name: object) -> TypeGuard[str]:
    """Whether it is the name of a piece of own code."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def asked_as(name: str) -> str:
    """The name without its digits: `my_model.py`; another name as it is."""
    match = NAME.fullmatch(name)
    return match["asked"] if match else name


def is_own_part(name: object) -> TypeGuard[str]:
    """Whether it is the name of a function or a class of own code: `my_metrics.py@3f2a9c81d0e4:cost`."""
    return isinstance(name, str) and (match := PART.fullmatch(name)) is not None and is_own(match["code"])


def split_part(name: str) -> tuple[str, str]:
    """`my_metrics.py@3f2a9c81d0e4:cost` → its code's name, and `cost`."""
    code, _, part = name.rpartition(":")
    return code, part


@dataclass(frozen=True)
class Code:
    """Attributes:
    asked: how people call it, `my_model.py` or `package.module`.
    main: the dotted name of the module that is asked for, among its files.
    files: path, with "/" between its parts → content.
    place: where it was read, for messages; no part of what it is.
    """

    asked: str
    main: str
    files: Mapping[str, bytes]
    place: str = ""

    @cached_property
    def sums(self) -> dict[str, str]:
        """path → sha256 of each file."""
        return {path: hashlib.sha256(self.files[path]).hexdigest() for path in sorted(self.files)}

    @cached_property
    def sha256(self) -> str:
        """Of all files, their paths, and which one is asked for."""
        digest = hashlib.sha256(f"{self.main}\0".encode())
        for path, sha256 in self.sums.items():
            digest.update(f"{path}\0{sha256}\0".encode())
        return digest.hexdigest()

    @property
    def name(self) -> str:
        return f"{self.asked}@{self.sha256[:DIGITS]}"

    @property
    def num_lines(self) -> int:
        return sum(len(content.splitlines()) for content in self.files.values())
