"""The running cell of a notebook: text that is shown in place of the text before it, so that nothing floods the cell."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def cell() -> Callable[[str], None] | None:
    """Shows text in the running cell, instead of what it showed before; None where this process is no notebook's kernel."""
    if "IPython" not in sys.modules:  # a kernel has it loaded
        return None
    ipython: Any = sys.modules["IPython"]
    if not hasattr(ipython.get_ipython(), "kernel"):
        return None
    shown: list[Any] = []

    def show(text: str) -> None:
        if shown:
            shown[0].update({"text/plain": text}, raw=True)
        else:
            shown.append(ipython.display.display({"text/plain": text}, raw=True, display_id=True))

    return show
