"""Tables for the terminal, all of one look."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from fersweep.common.display.fitting_table import FittingTable


def table(columns: Sequence[str], num_text: int, title: str = "", wraps: Collection[str] = ()) -> FittingTable:
    """A table without rows. The first `num_text` columns are text, the others numbers, or, where `wraps` names them, text
    at the right. In a terminal that is too narrow for it text folds, and columns go on below: nothing is cut.
    """
    from fersweep.common.display.fitting_table import FittingTable

    return FittingTable(columns, num_text, title, wraps)


def age(seconds: float) -> str:
    """`2 d`, `3 h`, `4 min` or `12 s`: in the largest unit of which there is a whole one."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"  # clocks differ


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


def short(value: Any) -> str:
    """A value as text: three digits of a float, also in lists."""
    if isinstance(value, list):
        return f"[{', '.join(map(short, cast(list[Any], value)))}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """`1 h 05 min`, `3 min 20 s` or `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{seconds:.3g} s"
