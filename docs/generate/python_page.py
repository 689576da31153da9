"""The page of the Python API: each name of the package, whose docstring mkdocstrings puts there."""

from __future__ import annotations

import fersweep

HEAD = """# Python

What `import fersweep` gives. Each name is loaded when it is first used, so that the import costs nothing.
"""


def render() -> str:
    """The page, as Markdown."""
    return HEAD + "".join(f"\n::: fersweep.{name}\n" for name in fersweep.__all__ if not name.startswith("_"))
