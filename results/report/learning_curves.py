"""How a search went, as sections of a page: its history, the learning curves of its trials, what it learnt of the space.

sections(Searched(sweep, record, Course(events), baselines))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import chart, side_by_side
from fersweep.common.display.colours import BEST, INK, STATES
from fersweep.common.display.page import Section, escape
from fersweep.results.record.journal import TrialRecord
from fersweep.results.report.data import ReportData

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


MAX_CURVE_POINTS = 150  # of one trial
SEED_SYMBOL = "diamond"
COLORS = {"train_loss": "#8a96a3", "val_loss": INK, "val_accuracy": "#009e73", "val_macro_f1": "#0072b2"}


def sections(searched: ReportData) -> list[Section]:
    """Both; where there is nothing to draw yet, they say so."""
    return [_history(searched), _curves(searched)]


def _history(of: ReportData) -> Section:
    heading = "History of the search"
    if not of.ranked:
        return Section(heading, note="No trial has a value yet.")
    unit, name = of.time_unit
    by_time = _progress(of, f"active time, {name}", lambda at: at[0] / unit)
    by_epochs = _progress(of, "epochs spent by all trials together", lambda at: float(at[1]))
    named = " Diamonds are named points that the search began with." if any(t.point for t in of.ranked) else ""
    return Section(
        heading,
        side_by_side([by_time, by_epochs]),
        f"Each trial's best {of.metric} on val, at the time when it was reached, and the best so far as a line."
        f"{named} Failed trials are left out. Active time leaves out the breaks between an interruption and the resume.",
    )


def _progress(of: ReportData, x_title: str, place: Callable[[tuple[float, int]], float]) -> Figure:
    from plotly.graph_objects import Scatter

    figure = chart(x_title, of.metric, xaxis_rangemode="tozero")
    points = []
    for trial in of.ranked:
        best = trial.best(of.metric, of.mode)
        assert best is not None  # ranked trials have a best epoch
        at = of.course.epochs[trial.number][int(best["epoch"]) - 1]
        points.append((place(at), best[of.metric], trial))
    points.sort(key=lambda point: point[0])
    values = np.array([value for _, value, _ in points])
    so_far = (np.maximum if of.mode == "max" else np.minimum).accumulate(values)
    end = place((of.course.active_s, of.record.num_epochs))
    line = {"color": BEST, "width": 2.5, "shape": "hv"}
    xs = [*(x for x, _, _ in points), end]
    figure.add_trace(
        Scatter(x=xs, y=[*so_far, so_far[-1]], mode="lines", line=line, name="best so far", hoverinfo="skip")
    )
    for state, color in STATES.items():
        mine = [point for point in points if point[2].state == state]
        if mine:
            symbols = [SEED_SYMBOL if trial.point else "circle" for _, _, trial in mine]
            figure.add_trace(
                Scatter(
                    x=[x for x, _, _ in mine],
                    y=[value for _, value, _ in mine],
                    mode="markers",
                    marker={"color": color, "symbol": symbols, "size": 8, "line": {"color": "#fff", "width": 0.8}},
                    name=state,
                    text=[of.label(trial) for _, _, trial in mine],
                    hovertemplate="%{text}<extra></extra>",
                )
            )
    _baselines(figure, of, values)
    return figure


def _baselines(figure: Figure, of: ReportData, values: np.ndarray) -> None:
    """Dashed lines; a baseline so far off that it would squeeze the trials is named at the edge instead."""
    low, high = float(values.min()), float(values.max())
    room = max(high - low, 1e-3)
    near = [value for value in of.baselines.values() if low - 0.75 * room <= value <= high + 0.75 * room]
    low, high = min([low, *near]), max([high, *near])
    pad = 0.08 * max(high - low, 1e-3)
    figure.update_yaxes(range=[low - pad, high + pad])
    for name, value in of.baselines.items():
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


def _curves(of: ReportData) -> Section:
    heading = "Learning curves"
    trials = [trial for trial in of.record.trials.values() if trial.epochs]
    if not trials:
        return Section(heading, note="No trial has trained an epoch yet.")
    best = of.ranked[0] if of.ranked else None
    parts: list[Figure | Markup] = [_all_curves(of, trials, best)]
    said = "Every trial's score on val by epoch; a cross marks where ASHA stopped it."
    if of.rungs:
        said += f" Dotted lines: the epochs at which ASHA compares trials ({', '.join(map(str, of.rungs))})."
    if any(trial.num_epochs > MAX_CURVE_POINTS for trial in trials):
        said += f" Long curves are drawn through {MAX_CURVE_POINTS} of their epochs."
    if best:
        parts.append(_one_curve(best, of))
        said += (
            f" Beside it, all that was measured of the best trial, {best.name}: losses that part tell of overfitting."
        )
    return Section(heading, side_by_side(parts), said)


def _all_curves(of: ReportData, trials: list[TrialRecord], best: TrialRecord | None) -> Figure:
    """One trace for each state, its curves parted by NaN: two hundred traces would be slow."""
    from plotly.graph_objects import Scatter

    figure = chart("epoch", of.metric, height=440)
    for state, color in STATES.items():
        mine = [trial for trial in trials if trial.state == state]
        if not mine:
            continue
        xs, ys, numbers = [], [], []
        for trial in mine:
            kept = thin(trial.num_epochs)
            xs.append(np.append(kept + 1, 0))
            ys.append(np.append(of.values(trial)[kept], np.nan))
            numbers.append(np.full(len(kept) + 1, trial.number))
        figure.add_trace(
            Scatter(
                x=np.concatenate(xs).astype(np.int32),
                y=np.concatenate(ys).astype(np.float32),
                customdata=np.concatenate(numbers).astype(np.int32),
                mode="lines" if max(trial.num_epochs for trial in mine) > 1 else "markers",
                line={"color": color, "width": 1},
                opacity=0.55 if len(trials) > 20 else 0.9,
                name=state,
                hovertemplate="trial %{customdata:04d}, epoch %{x}: %{y:.4f}<extra></extra>",
            )
        )
    _ends(figure, of, [trial for trial in trials if trial.state == "stopped"])
    if best:
        kept = thin(best.num_epochs)
        line = {"color": BEST, "width": 2.5}
        name = f"best, {best.name}"
        figure.add_trace(
            Scatter(x=kept + 1, y=of.values(best)[kept], mode="lines", line=line, name=name, hoverinfo="skip")
        )
    _focus(figure, of, trials)
    for level in of.rungs:
        figure.add_vline(level, line={"color": INK, "dash": "dot", "width": 1}, opacity=0.6)
    return figure


def _focus(figure: Figure, of: ReportData, trials: list[TrialRecord]) -> None:
    """Show the values of all trials but the worst 2 % of epochs, which are the first ones: a double click shows all."""
    values = np.concatenate([of.values(trial) for trial in trials])
    values = values[np.isfinite(values)]
    if len(values):
        low, high = np.quantile(values, [0.02, 1.0] if of.mode == "max" else [0.0, 0.98])
        pad = 0.05 * max(high - low, 1e-3)
        figure.update_yaxes(range=[low - pad, high + pad])


def _ends(figure: Figure, of: ReportData, stopped: list[TrialRecord]) -> None:
    from plotly.graph_objects import Scatter

    if stopped:
        figure.add_trace(
            Scatter(
                x=[trial.num_epochs for trial in stopped],
                y=[of.values(trial)[-1] for trial in stopped],
                mode="markers",
                marker={"symbol": "x-thin", "size": 6, "line": {"width": 1.2, "color": STATES["stopped"]}},
                name="stopped here",
                text=[of.label(trial) for trial in stopped],
                hovertemplate="%{text}<extra></extra>",
            )
        )


def _one_curve(trial: TrialRecord, of: ReportData) -> Figure:
    """All metrics of a trial: losses on a left axis, scores on a right one."""
    from plotly.graph_objects import Scatter

    figure = chart("epoch", "loss", height=440, yaxis2={"title": "score", "overlaying": "y", "side": "right"})
    figure.update_layout(yaxis2={"showgrid": False, "automargin": True, "tickmode": "auto", "tickformat": ".3~f"})
    kept = thin(trial.num_epochs)
    names = [name for name in trial.epochs[0] if name not in ("epoch", "epoch_s") and "tta" not in name]
    for name in names:
        is_loss = name.endswith("loss")
        values = np.array([row.get(name, np.nan) for row in trial.epochs], np.float32)[kept]
        line: dict[str, Any] = {"dash": "dash" if is_loss else "solid", "width": 1.8, "color": COLORS.get(name)}
        axis = "y" if is_loss else "y2"
        mode = "lines" if len(kept) > 1 else "markers"
        figure.add_trace(Scatter(x=kept + 1, y=values, yaxis=axis, mode=mode, line=line, name=escape(name)))
    best = trial.best(of.metric, of.mode)
    if best:
        figure.add_vline(best["epoch"], line={"color": BEST, "width": 1.5})
    return figure


def thin(number: int, most: int = MAX_CURVE_POINTS) -> np.ndarray:
    """At most `most` of the indices 0 … number − 1, evenly, with the first and the last."""
    return np.unique(np.linspace(0, number - 1, min(number, most)).round().astype(int))
