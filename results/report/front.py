"""The front of a sweep with several objectives, as a section of a page: all trials, those that no other beats, and what
`promote --pick` would take of them.
"""

# Parts of plotly and matplotlib have no types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import chart, log_ticks, make_figure, side_by_side
from fersweep.common.display.colours import BEST, INK, STATES
from fersweep.common.display.page import Section, html_table
from fersweep.results.compare.objectives import cost_text
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.ranking.front import Front
from fersweep.results.record.ranking.order import COSTS
from fersweep.results.report.data import ReportData
from fersweep.results.report.still_pictures import HEIGHT, WIDTH, picture

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


HEADING = "The front"
INFEASIBLE = "#d55e00"
WIDE = 20.0  # times as much as the least value: such an axis is logarithmic


def sections(data: ReportData) -> list[Section]:
    """One section; none where there is one objective."""
    if not data.sweep.order.objectives:
        return []
    front = data.recorded.front()
    if front is None:
        return [Section(HEADING, note="No trial has a value in every objective yet, and keeps to the constraints.")]
    figures = [_figure(data, front, x, y) for y, x in combinations(range(len(front.order.names)), 2)]
    return [Section(HEADING, side_by_side(figures) + _table(front), _note(front))]


def still(data: ReportData) -> list[Section]:
    """The same with pictures, for a page that can load no script."""
    front = data.recorded.front()
    if front is None:
        return []
    pictures = [_picture(data, front, x, y) for y, x in combinations(range(len(front.order.names)), 2)]
    return [Section(HEADING, side_by_side(pictures) + _table(front), _note(front))]


def _note(front: Front) -> str:
    wanted = " and ".join(f"{mode} {name}" for name, mode in zip(front.order.names, front.order.modes, strict=True))
    line = (
        f"{len(front.trials)} trials are such that no other is better in one of {wanted} without being worse in another. "
        f"They dominate {front.share:.0%} of what is between the best and the worst values of all trials. The knee gives the "
        "most in each for the least in the others; `promote --pick knee` takes it."
    )
    if "latency_ms" in front.order.names:
        line += " A latency was measured once, beside the other trials: differences of a tenth, and more on a busy machine, are noise."
    return line


def _table(front: Front) -> Markup:
    labels, names = front.labels(), front.order.names
    rows = [
        [
            trial.name,
            labels.get(trial.number, ""),
            *(_text(name, value) for name, value in zip(names, values, strict=True)),
        ]
        for trial, values in zip(front.trials, front.values.tolist(), strict=True)
    ]
    return html_table(["trial", "", *names], rows)


def _text(name: str, value: float) -> str:
    return cost_text(name, value) if name in COSTS else f"{value:.4f}"


def _groups(data: ReportData, front: Front) -> list[tuple[str, str, list[TrialRecord]]]:
    """(name, colour, trials) of those beside the front."""
    order, members = front.order, {trial.number for trial in front.trials}
    others = [trial for trial in data.ranked if trial.number not in members]
    broken = [trial for trial in others if not order.is_feasible(trial)]
    fine = [trial for trial in others if order.is_feasible(trial)]
    groups = [(state, color, [trial for trial in fine if trial.state == state]) for state, color in STATES.items()]
    return [group for group in [*groups, ("infeasible", INFEASIBLE, broken)] if group[2]]


def _points(front: Front, trials: list[TrialRecord], axis: int) -> np.ndarray:
    return np.array([(front.order.values(trial) or [np.nan] * (axis + 1))[axis] for trial in trials], np.float32)


def _is_wide(data: ReportData, front: Front, axis: int) -> bool:
    values = _points(front, data.ranked, axis)
    return bool(values.min() > 0 and values.max() > WIDE * values.min())


def _corners(front: Front, x: int) -> str:
    """Shape of the line between neighbours of a front along the axis `x`, as plotly names it."""
    return "hv" if front.order.modes[x] == "min" else "vh"


def _figure(data: ReportData, front: Front, x: int, y: int) -> Figure:
    from plotly.graph_objects import Scatter

    names = front.order.names
    figure = chart(names[x], names[y], height=420)
    for name, color, trials in _groups(data, front):
        symbol = "x-thin-open" if name == "infeasible" else "circle"
        figure.add_trace(
            Scatter(
                x=_points(front, trials, x),
                y=_points(front, trials, y),
                mode="markers",
                name=name,
                marker={
                    "color": color,
                    "size": 7,
                    "symbol": symbol,
                    "line": {"color": "#fff" if symbol == "circle" else color},
                },
                opacity=0.75,
                **_hover(trials),
            )
        )
    order = np.argsort(front.values[:, x], kind="stable")
    members, values, labels = [front.trials[index] for index in order], front.values[order], front.labels()
    figure.add_trace(
        Scatter(
            x=values[:, x],
            y=values[:, y],
            mode="lines+markers+text" if len(names) == 2 else "markers+text",
            name="front",
            line={"color": BEST, "width": 2, "shape": _corners(front, x)},
            marker={"color": BEST, "size": 11, "line": {"color": INK, "width": 1}},
            text=[labels.get(trial.number, "") for trial in members],
            textposition=_sides(values[:, x]),
            textfont={"size": 12, "color": INK},
            cliponaxis=False,
            **_hover(members),
        )
    )
    if _is_wide(data, front, x):
        every = _points(front, data.ranked, x)
        ticks = log_ticks(float(every.min()), float(every.max()))
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    for constraint in front.order.limits:
        line: Any = {"color": INFEASIBLE, "dash": "dash", "width": 1}
        if constraint.metric == names[x]:
            figure.add_vline(constraint.limit, line=line, annotation_text=str(constraint), annotation_font_size=11)
        if constraint.metric == names[y]:
            figure.add_hline(constraint.limit, line=line, annotation_text=str(constraint), annotation_font_size=11)
    return figure


def _hover(trials: list[TrialRecord]) -> dict[str, Any]:
    return {
        "customdata": np.array([trial.number for trial in trials], np.int32),
        "hovertemplate": "trial %{customdata:04d}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
    }


def _sides(along: np.ndarray) -> list[str]:
    """Texts of the right half stand left of their points, so that they end within the chart."""
    middle = (along.min() + along.max()) / 2
    return ["top left" if value > middle else "bottom right" for value in along]


def _picture(data: ReportData, front: Front, x: int, y: int) -> Markup:
    figure, (axes,) = make_figure(WIDTH, HEIGHT, num_axes=1)
    names = front.order.names
    for name, color, trials in _groups(data, front):
        marker = "x" if name == "infeasible" else "o"
        points = _points(front, trials, x), _points(front, trials, y)
        axes.plot(*points, marker, color=color, markersize=4, label=name, alpha=0.8)
    order = np.argsort(front.values[:, x], kind="stable")
    values, labels = front.values[order], front.labels()
    if len(names) == 2:
        where = "post" if _corners(front, x) == "hv" else "pre"
        axes.step(values[:, x], values[:, y], where=where, color=BEST, linewidth=2)
    axes.plot(values[:, x], values[:, y], "o", color=BEST, markersize=7, markeredgecolor=INK, label="front")
    for index, side in zip(order, _sides(values[:, x]), strict=True):
        if label := labels.get(front.trials[index].number):
            at, left = front.values[index], side.endswith("left")
            offset, align = ((-6, 5), "right") if left else ((6, -11), "left")
            axes.annotate(label, (at[x], at[y]), offset, textcoords="offset points", fontsize=8, ha=align, color=INK)
    if _is_wide(data, front, x):
        axes.set_xscale("log")
    return picture(figure, axes, names[x], names[y], f"Front of {len(front.trials)} trials")
