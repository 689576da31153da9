"""How a search went, as sections of a page: its history, and the learning curves of its trials.

sections(ReportData(recorded, Timeline(events), baselines))
"""

# Parts of plotly have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import chart, side_by_side
from fersweep.common.display.colours import BEST, INK, STATES
from fersweep.common.display.page import Section, escape
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.timeline import ReportedEpoch
from fersweep.results.report.data import MAX_RUNGS, ReportData
from fersweep.trainables.metrics import fold_metric, fold_values, is_fold_metric

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


MAX_CURVE_POINTS = 150  # of one trial
MAX_POINTS = 20_000  # of all trials together, though each has MIN_CURVE_POINTS
MIN_CURVE_POINTS = 30
POINT_SYMBOL = "diamond"
FOLD = "#b9c4ce"
COLORS = {"train_loss": "#8a96a3", "val_loss": INK, "val_accuracy": "#009e73", "val_macro_f1": "#0072b2"}


def sections(data: ReportData) -> list[Section]:
    """Both; where there is nothing to draw yet, they say so."""
    return [_history(data), _curves(data)]


def _history(data: ReportData) -> Section:
    heading = "History of the search"
    if not data.ranked:
        return Section(heading, note="No trial has a value yet.")
    unit, name = data.time_unit
    by_time = _progress(data, f"active time, {name}", lambda epoch: epoch.active_s / unit)
    by_epochs = _progress(data, "epochs spent by all trials together", lambda epoch: float(epoch.num_epochs))
    named = (
        " Diamonds are named points that the search began with." if any(trial.point for trial in data.ranked) else ""
    )
    return Section(
        heading,
        side_by_side([by_time, by_epochs]),
        f"Each trial's best {data.metric} on val, at the time when it was reached, and the best so far as a line."
        f"{named} Failed trials are left out. Active time leaves out the breaks between an interruption and the resume.",
    )


def _progress(data: ReportData, x_title: str, x_of: Callable[[ReportedEpoch], float]) -> Figure:
    from plotly.graph_objects import Scatter

    figure = chart(x_title, data.metric, xaxis_rangemode="tozero")
    points: list[tuple[float, float, TrialRecord]] = []
    for trial in data.ranked:
        best = data.recorded.best(trial)
        assert best is not None  # ranked trials have a best epoch
        epoch = data.timeline.epochs[trial.number][int(best["epoch"]) - 1]
        points.append((x_of(epoch), best[data.metric], trial))
    points.sort(key=lambda point: point[0])
    values = np.array([value for _, value, _ in points])
    so_far = (np.maximum if data.mode == "max" else np.minimum).accumulate(values)
    end = x_of(ReportedEpoch(data.timeline.active_s, data.record.num_epochs))
    line = {"color": BEST, "width": 2.5, "shape": "hv"}
    xs = [*(x for x, _, _ in points), end]
    figure.add_trace(
        Scatter(
            x=np.array(xs),
            y=np.array([*so_far, so_far[-1]]),
            mode="lines",
            line=line,
            name="best so far",
            hoverinfo="skip",
        )
    )
    for state, color in STATES.items():
        in_state = [point for point in points if point[2].state == state]
        if in_state:
            symbols = [POINT_SYMBOL if trial.point else "circle" for _, _, trial in in_state]
            if POINT_SYMBOL not in symbols:
                symbols = "circle"
            figure.add_trace(
                Scatter(
                    x=np.array([x for x, _, _ in in_state], np.float32),
                    y=np.array([value for _, value, _ in in_state], np.float32),
                    mode="markers",
                    marker={"color": color, "symbol": symbols, "size": 8, "line": {"color": "#fff", "width": 0.8}},
                    name=state,
                    **data.hover(state, [trial for _, _, trial in in_state]),
                )
            )
    _baselines(figure, data, values)
    return figure


def _baselines(figure: Figure, data: ReportData, values: np.ndarray) -> None:
    """Dashed lines; a baseline so far off that it would squeeze the trials is named at the edge instead."""
    low, high = float(values.min()), float(values.max())
    room = max(high - low, 1e-3)
    near = [value for value in data.baselines.values() if low - 0.75 * room <= value <= high + 0.75 * room]
    low, high = min([low, *near]), max([high, *near])
    pad = 0.08 * max(high - low, 1e-3)
    figure.update_yaxes(range=[low - pad, high + pad])
    for name, value in data.baselines.items():
        text, font = f"{escape(name)} {value:.3f}", {"size": 11, "color": INK}
        if value in near:
            figure.add_hline(value, line={"color": INK, "dash": "dash", "width": 1})
            figure.add_annotation(
                x=1,
                xref="paper",
                xanchor="right",
                y=value,
                yanchor="bottom",
                text=text,
                font=font,
                showarrow=False,
                bgcolor="rgba(255,255,255,0.8)",
            )
        else:
            below = value < low
            figure.add_annotation(
                x=1, xref="paper", xanchor="right", y=0 if below else 1, yref="paper", yanchor="bottom" if below else "top",
                text=f"{'↓' if below else '↑'} {text}", font=font, showarrow=False, bgcolor="rgba(255,255,255,0.8)",
            )  # fmt: skip


def _curves(data: ReportData) -> Section:
    heading = "Learning curves"
    trials = [trial for trial in data.record.trials.values() if trial.epochs]
    if not trials:
        return Section(heading, note="No trial has trained an epoch yet.")
    best = data.ranked[0] if data.ranked else None
    parts: list[Figure | Markup] = [_all_curves(data, trials, best)]
    note = f"Every trial's score on val by {data.unit}; a cross marks where the scheduler stopped it."
    if 0 < len(data.rungs) <= MAX_RUNGS:
        note += f" Dotted lines: {data.sweep.asked.stop.in_words()}."
    limit = curve_points(len(trials))
    if any(trial.num_epochs > limit for trial in trials):
        note += f" Long curves are drawn through {limit} of their epochs."
    if best:
        parts.append(_one_curve(best, data))
        note += f" Beside it, all that was measured of the best trial, {best.name}: losses that part mean overfitting."
    return Section(heading, side_by_side(parts), note)


def _all_curves(data: ReportData, trials: list[TrialRecord], best: TrialRecord | None) -> Figure:
    """One trace for each state, its curves separated by NaN: two hundred traces would be slow."""
    from plotly.graph_objects import Scatter

    figure = chart(data.unit, data.metric, height=440)
    for state, color in STATES.items():
        in_state = [trial for trial in trials if trial.state == state]
        if not in_state:
            continue
        xs: list[np.ndarray] = []
        ys: list[np.ndarray] = []
        numbers: list[np.ndarray] = []
        for trial in in_state:
            indices = thin(trial.num_epochs, curve_points(len(trials)))
            xs.append(np.append(data.come(trial)[indices], 0))
            ys.append(np.append(data.values(trial)[indices], np.nan))
            numbers.append(np.full(len(indices) + 1, trial.number))
        figure.add_trace(
            Scatter(
                x=np.concatenate(xs).astype(np.float32),
                y=np.concatenate(ys).astype(np.float32),
                customdata=np.concatenate(numbers).astype(np.int32),
                mode="lines" if max(trial.num_epochs for trial in in_state) > 1 else "markers",
                line={"color": color, "width": 1},
                opacity=0.55 if len(trials) > 20 else 0.9,
                name=state,
                hovertemplate=f"trial %{{customdata:04d}}, {data.unit} %{{x}}: %{{y:.4f}}<extra></extra>",
            )
        )
    _ends(figure, data, [trial for trial in trials if trial.state == "stopped"])
    if best:
        indices = thin(best.num_epochs)
        line = {"color": BEST, "width": 2.5}
        name = f"best, {best.name}"
        figure.add_trace(
            Scatter(
                x=data.come(best)[indices],
                y=data.values(best)[indices],
                mode="lines",
                line=line,
                name=name,
                hoverinfo="skip",
            )
        )
    _focus(figure, data, trials)
    for level in data.rungs if len(data.rungs) <= MAX_RUNGS else ():
        figure.add_vline(level, line={"color": INK, "dash": "dot", "width": 1}, opacity=0.6)
    return figure


def _focus(figure: Figure, data: ReportData, trials: list[TrialRecord]) -> None:
    """Show the values of all trials but the worst 2 % of epochs, which are the first ones: a double click shows all."""
    values = np.concatenate([data.values(trial) for trial in trials])
    values = values[np.isfinite(values)]
    if len(values):
        low, high = np.quantile(values, [0.02, 1.0] if data.mode == "max" else [0.0, 0.98])
        pad = 0.05 * max(high - low, 1e-3)
        figure.update_yaxes(range=[low - pad, high + pad])


def _ends(figure: Figure, data: ReportData, stopped: list[TrialRecord]) -> None:
    from plotly.graph_objects import Scatter

    if stopped:
        figure.add_trace(
            Scatter(
                x=np.array([data.come(trial)[-1] for trial in stopped]),
                y=np.array([data.values(trial)[-1] for trial in stopped], np.float32),
                mode="markers",
                marker={"symbol": "x-thin", "size": 6, "line": {"width": 1.2, "color": STATES["stopped"]}},
                name="stopped here",
                **data.hover("stopped", stopped),
            )
        )


def _one_curve(trial: TrialRecord, data: ReportData) -> Figure:
    """All metrics of a trial: losses on a left axis, scores on a right one."""
    from plotly.graph_objects import Scatter

    figure = chart("epoch", "loss", height=440, yaxis2={"title": "score", "overlaying": "y", "side": "right"})
    figure.update_layout(yaxis2={"showgrid": False, "automargin": True, "tickmode": "auto", "tickformat": ".3~f"})
    indices = thin(trial.num_epochs)
    folds = [fold_metric(data.metric, number) for number in range(len(fold_values(trial.epochs[0], data.metric)))]
    others = [name for name in trial.epochs[0] if name not in ("epoch", "epoch_s") and not is_fold_metric(name)]
    for name in [*folds, *(name for name in others if "tta" not in name)]:
        is_loss = "loss" in name
        values = np.array([row.get(name, np.nan) for row in trial.epochs], np.float32)[indices]
        line = {"dash": "dash" if is_loss else "solid", "width": 1.8, "color": COLORS.get(name)}
        line |= {"width": 0.7, "color": FOLD} if name in folds else {}
        axis = "y" if is_loss else "y2"
        mode = "lines" if len(indices) > 1 else "markers"
        figure.add_trace(Scatter(x=indices + 1, y=values, yaxis=axis, mode=mode, line=line, name=escape(name)))
    best = data.recorded.best(trial)
    if best:
        figure.add_vline(best["epoch"], line={"color": BEST, "width": 1.5})
    return figure


def curve_points(num_trials: int) -> int:
    """How many points of each trial's curve are drawn."""
    return max(min(MAX_CURVE_POINTS, MAX_POINTS // num_trials), MIN_CURVE_POINTS)


def thin(number: int, limit: int = MAX_CURVE_POINTS) -> np.ndarray:
    """At most `limit` of the indices 0 … number − 1, evenly, with the first and the last."""
    return np.unique(np.linspace(0, number - 1, min(number, limit)).round().astype(int))
