"""The options of a verb, each stated once: a field of a dataclass with what the command line says of it.

    @dataclass(frozen=True)
    class Options:
        border: Annotated[float, Option("Black border on each side, as a share of the side.")] = 0.25

The command line makes `--border` of it (cli/options.py), with the field's type and default; a field without an Option
is none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """What the command line says of a field.

    Attributes:
        help: one line for `--help`.
        group: title of the box in `--help`; None: the common one.
        flag: the option's name, where it is not the field's.
        metavar: the value's name in `--help`; None: its type.
        min: the least value.
        given: type of what is given, where it is not the field's type.
        read: makes the field's value of what is given.
    """

    help: str
    group: str | None = None
    flag: str | None = None
    metavar: str | None = None
    min: float | None = None
    given: Any = None
    read: Callable[[Any], Any] | None = None
