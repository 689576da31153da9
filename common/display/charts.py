"""What all plotly figures of a page have in common: colours, layout, and figures side by side."""

# Parts of plotly have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fersweep.common.display.colours import INK
from fersweep.common.display.page import columns, plot
from fersweep.common.text import one_line

if TYPE_CHECKING:
    import matplotlib.figure
    from matplotlib.axes import Axes
    from plotly.graph_objects import Figure


DPI = 90
LONGEST_LABEL = 40  # characters
FINE = (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)


def chart(x: str = "", y: str = "", height: int = 400, **layout: Any) -> Figure:
    """An empty figure with the titles of its axes. Its legend is above it, so that narrow screens have room."""
    from plotly.graph_objects import Figure

    return dress(Figure(), height, xaxis_title_text=x or None, yaxis_title_text=y or None, **layout)


def dress(figure: Figure, height: int, **layout: Any) -> Figure:
    """Give a figure, also one of Optuna's, the look of all others."""
    figure.update_layout(
        title=None,
        height=height,
        font={"size": 12, "color": INK},
        margin={"l": 10, "r": 10, "t": 32, "b": 10},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(automargin=True, gridcolor="#eef1f4", autotickangles=[0, 45, 90])
    figure.update_yaxes(automargin=True, gridcolor="#eef1f4")
    return figure.update_layout(**layout)


def side_by_side(parts: Sequence[Figure | Markup], width: int = 480) -> Markup:
    """Figures, or HTML, in as many columns of at least `width` px as the page has room for."""
    return columns([part if isinstance(part, Markup) else plot(part) for part in parts], width)


def log_ticks(low: float, high: float) -> list[float]:
    """At most five round values from `low` to `high`, both above 0, for a logarithmic axis; no two so near that their
    texts meet on a chart of 270 px.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    inside: list[float] = []
    for steps, every in ((FINE, 1), ((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 4)):
        ticks = [step * 10.0**power for power in range(first, last + 1, every) for step in steps]
        inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        gaps = [math.log(after / before) for before, after in itertools.pairwise(inside)]
        if len(inside) <= 5 and min(gaps, default=1.0) >= 0.2 * math.log(high / low):
            return inside
    return inside[:5]


def make_figure(width: float, height: float, num_axes: int) -> tuple[matplotlib.figure.Figure, list[Axes]]:
    """A figure of width × height inches with its axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(1, num_axes, i + 1) for i in range(num_axes)]


def figure_text(name: str) -> str:
    """A name of a user's as a text of such a figure: in one line, cut, and its "$" begins no formula."""
    return one_line(name, LONGEST_LABEL).replace("$", r"\$")


def save_figure(figure: matplotlib.figure.Figure, path: Path) -> None:
    """Write a figure; a character that its font lacks is drawn as a box, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(path)
