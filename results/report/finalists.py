"""What became of the finalists, as a section of a page: a table, and a figure of what was promised and what was kept."""

# Parts of plotly and matplotlib have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import chart, make_figure
from fersweep.common.display.colours import BEST, INK, STATES
from fersweep.common.display.page import Section, html_table, plot
from fersweep.results.compare.tables import FINALISTS, finalist_rows, finalists_note
from fersweep.results.record.ranking.finalists import Final
from fersweep.results.report.data import ReportData
from fersweep.results.report.still_pictures import picture

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


HEADING = "Finalists"
KEY = " In the figure: each repeat as a dot, their mean and its interval as a bar, what was promised as a diamond."


def sections(data: ReportData) -> list[Section]:
    """One; none where there are no finalists."""
    final = data.recorded.final
    return [] if final is None else [_section(final, plot(_figure(final, data.metric)))]


def still_sections(data: ReportData) -> list[Section]:
    """The same, with a picture."""
    final = data.recorded.final
    return [] if final is None else [_section(final, _picture(final, data.metric))]


def _section(final: Final, figure: Markup) -> Section:
    return Section(HEADING, html_table(FINALISTS, finalist_rows(final)) + figure, finalists_note(final) + KEY)


def _figure(final: Final, metric: str) -> Figure:
    from plotly.graph_objects import Scatter

    names = [finalist.point.name for finalist in final.finalists]
    figure = chart(f"{metric} on val", height=140 + 44 * len(names))
    runs = [
        (name, number, value)
        for name, finalist in zip(names, final.finalists, strict=True)
        for number, value in finalist.values.items()
    ]
    figure.add_trace(
        Scatter(
            x=[value for _, _, value in runs],
            y=[name for name, _, _ in runs],
            mode="markers",
            name="repeats",
            marker={"color": STATES["finished"], "size": 7, "opacity": 0.45},
            customdata=[number for _, number, _ in runs],
            hovertemplate="trial %{customdata:04d}: %{x:.4f}<extra></extra>",
        )
    )
    means = [(name, each) for name, each in zip(names, final.finalists, strict=True) if each.mean is not None]
    halves = [0.0 if each.low is None or each.mean is None else each.mean - each.low for _, each in means]
    figure.add_trace(
        Scatter(
            x=[each.mean for _, each in means],
            y=[name for name, _ in means],
            mode="markers",
            name="mean, 95 % interval",
            marker={"color": INK, "symbol": "line-ns-open", "size": 14},
            error_x={"type": "data", "array": halves, "color": INK, "thickness": 2, "width": 6},
            customdata=[each.result for _, each in means],
            hovertemplate="%{customdata} (mean ± standard deviation)<extra></extra>",
        )
    )
    figure.add_trace(
        Scatter(
            x=[each.promised for each in final.finalists],
            y=names,
            mode="markers",
            name="promised by the search",
            marker={"color": BEST, "symbol": "diamond", "size": 10, "line": {"color": "#fff", "width": 0.8}},
            hovertemplate="promised %{x:.4f}<extra></extra>",
        )
    )
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=names[::-1],
        range=[-0.5, len(names) - 0.5],
        title_text="point of trial",
    )
    return figure


def _picture(final: Final, metric: str) -> Markup:
    num = len(final.finalists)
    figure, (axes,) = make_figure(6.4, 1.6 + 0.45 * num, num_axes=1)
    for row, finalist in enumerate(final.finalists):
        values = list(finalist.values.values())
        label: dict[str, Any] = {"label": "repeats"} if row == 0 else {}
        axes.plot(values, [row] * len(values), "o", color=STATES["finished"], alpha=0.45, markersize=5, **label)
        if finalist.mean is not None:
            half = 0.0 if finalist.low is None else finalist.mean - finalist.low
            label = {"label": "mean, 95 % interval"} if row == 0 else {}
            axes.errorbar([finalist.mean], [row], xerr=[half], fmt="|", color=INK, capsize=4, markersize=12, **label)
        label = {"label": "promised by the search"} if row == 0 else {}
        axes.plot([finalist.promised], [row], "D", color=BEST, markersize=6, **label)
    axes.set_yticks(np.arange(num), [finalist.point.name for finalist in final.finalists])
    axes.set_ylim(num - 0.5, -0.5)
    return picture(
        figure, axes, f"{metric} on val", "point of trial", f"{num} finalists: what was promised, and what was kept"
    )
