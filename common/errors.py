"""The one error that a user can cause and repair, and the hint that goes with a wrong name."""

import difflib
from collections.abc import Iterable

from fersweep.common.text import masked, printable

LONGEST = 1000  # characters of a message


class InputError(ValueError):
    """What the user gave is wrong. The message is one line: what, where, and what would be right.

    It quotes what it was given, which may be anything: what does not print is escaped, a long one loses its middle, and
    passwords in addresses are left out.
    The command line prints the message and exits with status 2. What fails at run time is a RuntimeError (status 1).
    """

    def __init__(self, message: str):
        line = masked(printable(message))
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST - 300]} … {line[-200:]}")


def hint(name: str, known: Iterable[str], title: str = "known") -> str:
    """What was probably meant by `name`: the nearest of `known`, or, where none is near, all of them after `title`."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{title}: {', '.join(known)}"
