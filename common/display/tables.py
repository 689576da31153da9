"""Tables for the terminal, all of one look."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def table(columns: Sequence[str], num_text: int, title: str = "", wraps: Collection[str] = ()) -> Table:
    """A table without rows. The first `num_text` columns are text, the others numbers; `wraps`: columns that may wrap."""
    from rich import box
    from rich.table import Table

    empty = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        empty.add_column(name, justify="left" if index < num_text else "right", no_wrap=name not in wraps)
    return empty


def short(value: Any) -> str:
    """A value as text: three digits of a float, also in lists."""
    if isinstance(value, list):
        return f"[{', '.join(map(short, value))}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
