"""The page of the Python API: each name of the package, whose docstring mkdocstrings puts there."""

from __future__ import annotations

import fersweep

HEAD = """# Python

What `import fersweep` gives. Each name is loaded when it is first used, so that the import costs nothing.
"""


FIELDS = "\n    options:\n      members: []"  # whose fields are options of a verb: the command line's page has them


def render() -> str:
    """The page, as Markdown."""
    names = [name for name in fersweep.__all__ if not name.startswith("_")]
    return HEAD + "".join(f"\n::: fersweep.{name}{FIELDS if name.endswith('Options') else ''}\n" for name in names)
