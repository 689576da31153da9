"""Text of others as it is shown: names of files, classes and sweeps, messages, what processes wrote."""

from __future__ import annotations

import re
import unicodedata

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def printable(text: object) -> str:
    """Text in one line that changes nothing but what it says: what does not print is escaped as Python escapes it.

    That is every control character (ESC, line breaks), what turns the direction of writing, what has no width, and the
    bytes of a name that is not UTF-8. Spaces of all scripts stay.
    """
    return "".join(char if _prints(char) else repr(char)[1:-1] for char in str(text))


def one_line(text: object, length: int) -> str:
    """`printable` text without colours, cut to `length` characters."""
    line = printable(COLOURS.sub("", str(text)))
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _prints(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"
