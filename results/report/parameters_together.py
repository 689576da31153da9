"""What a search learnt of several parameters at once: parallel coordinates of them, and a contour of the best two.

Both are Optuna's figures, made small: a thousand trials are a few hundred kilobytes.
"""

# Parts of plotly have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.common.display.charts import dress, log_ticks
from fersweep.common.display.colours import INK
from fersweep.common.display.page import Section, plot
from fersweep.results.report.data import ReportData
from fersweep.results.report.learning_curves import thin

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure


MIN_TRIALS = 8  # with fewer, importances are noise, and so is a contour
MANY = 5  # a parameter with more values than this is worth an axis of a contour
SCALE = [[0.0, "#c3cbd4"], [0.5, "#56b4e9"], [1.0, "#08306b"]]  # from the worst value to the best
SHADES = 16
GRID = 80  # points of an axis of the contour
AXIS_WIDTH = 110  # px that an axis of the parallel coordinates needs


def parallel(data: ReportData, study: optuna.Study, params: list[str], which: str) -> Section:
    """A line for each trial through its values."""
    from optuna.visualization import plot_parallel_coordinate

    figure = dress(plot_parallel_coordinate(study, params=params, target_name=data.metric), 480)
    figure.update_layout(margin={"l": 40, "r": 50, "t": 40, "b": 10}, xaxis_tickangle=0)
    figure.update_annotations(bgcolor="rgba(255,255,255,0.75)", font_color=INK)
    _recolour(figure, data.mode)
    return Section(
        "Parallel coordinates",
        plot(figure, min_width=AXIS_WIDTH * (len(params) + 1)),
        f"A line for each trial through its values of {which}; the darker, the better. None: the trial has no such "
        "parameter.",
    )


def _recolour(figure: Figure, mode: str) -> None:
    """Optuna's lines fade to white where a trial is bad; here to gray. It draws a trace for each trial: here one for
    each of SHADES shades, its lines separated by NaN, the best ones last, so that they lie on top.
    """
    from plotly.colors import sample_colorscale
    from plotly.graph_objects import Scatter

    lines: list[Any] = list(figure.select_traces({"mode": "lines"}))
    values = np.array([float(trace["customdata"][0][1]) for trace in lines])
    places = (values - values.min()) / max(float(np.ptp(values)), 1e-9)
    shades = np.round((places if mode == "max" else 1 - places) * (SHADES - 1)).astype(int)
    merged: list[Any] = []
    for shade in np.unique(shades):
        traces = [trace for trace, its in zip(lines, shades, strict=True) if its == shade]
        color = sample_colorscale(SCALE, [shade / (SHADES - 1)])[0]
        texts = [row[1] for trace in traces for row in [*trace["customdata"], ("", "")]]
        merged.append(
            Scatter(
                x=np.concatenate([[*trace["x"], 0] for trace in traces]).astype(np.int8),
                y=np.concatenate([[*trace["y"], np.nan] for trace in traces]).astype(np.float32),
                text=texts,
                mode="lines",
                line={"color": color, "width": 1.3},
                opacity=0.75,
                showlegend=False,
                hovertemplate="%{text}<extra></extra>",
            )
        )
    others: list[Any] = list(figure.select_traces({"mode": "markers"}))
    figure.data = others
    figure.add_traces(merged)
    scale = SCALE if mode == "max" else [[at, color] for (at, _), (_, color) in zip(SCALE, SCALE[::-1], strict=True)]
    figure.update_traces(marker={"colorscale": scale, "reversescale": False}, selector={"mode": "markers"})


def _thin_grid(figure: Figure) -> None:
    """Optuna interpolates at every value of both parameters, which for 1,000 trials are ten megabytes."""
    contours: list[Any] = list(figure.select_traces({"type": "contour"}))
    for trace in contours:
        at_x, at_y = (thin(len(trace[axis]), GRID) for axis in ("x", "y"))
        z = np.array([list(row) for row in trace["z"]], np.float32)[np.ix_(at_y, at_x)]
        trace.update(x=[trace["x"][i] for i in at_x], y=[trace["y"][i] for i in at_y], z=z)


def contour(
    data: ReportData, study: optuna.Study, trials: list[optuna.trial.FrozenTrial], params: list[str]
) -> Section:
    """The value over the two most important parameters that most trials have."""
    from optuna.visualization import plot_contour

    heading = "Two parameters together"
    shared = [name for name in params if sum(name in trial.params for trial in trials) * 2 >= len(trials)]
    many = [name for name in shared if len({trial.params.get(name) for trial in trials}) > MANY]
    shared = (many if len(many) > 1 else shared)[:2]
    if len(trials) < MIN_TRIALS or len(shared) < 2:
        return Section(heading, note=f"Need {MIN_TRIALS} ended trials, and two parameters that most of them have.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = dress(plot_contour(study, params=shared, target_name=data.metric), 460)
    _thin_grid(figure)
    figure.update_traces(
        colorbar={"title": {"text": data.metric, "side": "right"}, "thickness": 14},
        line_width=0,
        selector={"type": "contour"},
    )
    figure.update_traces(marker={"size": 5, "line": {"width": 0}}, selector={"type": "scatter"})
    for name, update in zip(
        sorted(shared), (figure.update_xaxes, figure.update_yaxes), strict=True
    ):  # as Optuna has them
        values = [trial.params[name] for trial in trials if name in trial.params]
        if any(getattr(trial.distributions.get(name), "log", False) for trial in trials):
            ticks = log_ticks(min(values), max(values))
            update(tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return Section(
        heading,
        plot(figure),
        f"{shared[0]} and {shared[1]}, the most important that take many values: between the trials, which are the dots, the "
        "value is interpolated; where there are no dots, nothing is known.",
    )
