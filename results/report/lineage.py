"""Who copied whom under PBT, and the schedule of hparams that led to the best trial, as a section of a page."""

# Parts of plotly have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import chart
from fersweep.common.display.colours import BEST, FAINT, INK, STATES
from fersweep.common.display.page import Section, escape, html_table, plot, subheading
from fersweep.common.display.tables import short
from fersweep.results.record.journal import trial_name
from fersweep.results.record.ranking.lineage import best_schedule, changed_hparams
from fersweep.results.report.data import ReportData

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


MAX_TRIALS = 100  # that are drawn


def sections(data: ReportData) -> list[Section]:
    """One section; none of a sweep under another scheduler."""
    if data.sweep.asked.stop.scheduler != "pbt":
        return []
    return [_section(data, drawn=True)]


def tables(data: ReportData) -> list[Section]:
    """The same without a figure."""
    return [_section(data, drawn=False)] if data.sweep.asked.stop.scheduler == "pbt" else []


def _section(data: ReportData, drawn: bool) -> Section:
    heading, trials = "Lineage", data.record.trials.values()
    num = sum(len(trial.exploits) for trial in trials)
    if not num:
        return Section(heading, note="No trial has gone on from another one's checkpoint yet.")
    html = Markup()
    note = f"{num} times a trial went on from the checkpoint of a better one, with perturbed hparams (PBT)."
    if drawn:
        html = plot(_figure(data))
        note += (
            " A line for each trial; an arrow leads from the trial that was copied to the one that goes on from there. What led "
            "to the best checkpoint is drawn thick."
        )
    if data.ranked:
        best = data.ranked[0]
        steps = best_schedule(data.sweep, data.record.trials, best)
        changed = changed_hparams(data.sweep, steps)
        names = list(dict.fromkeys(name for hparams in changed for name in hparams))
        rows: list[list[Any]] = [
            [step.epochs.partition(" ")[2], trial_name(step.trial)]
            + [short(hparams[name]) if name in hparams else None for name in names]
            for step, hparams in zip(steps, changed, strict=True)
        ]
        html += subheading(
            f"The schedule of the best trial, {best.name}",
            "what led to its best epoch; hparams that never changed are left out",
        )
        html += html_table(["epochs", "in trial", *names], rows)
    return Section(heading, html, note)


def _figure(data: ReportData) -> Figure:
    from plotly.graph_objects import Scatter

    trials = list(data.record.trials.values())[:MAX_TRIALS]
    figure = chart("epoch", "trial", height=140 + 24 * len(trials))
    for trial in trials:
        figure.add_trace(
            Scatter(
                x=np.array([0, trial.num_epochs], np.int32),
                y=np.array([trial.number, trial.number], np.int32),
                mode="lines",
                line={"color": STATES.get(trial.state, FAINT), "width": 1.5},
                hovertemplate=f"trial {trial.name}, {escape(trial.ended)}<extra></extra>",
                showlegend=False,
            )
        )
    shown = {trial.number for trial in trials}
    steps = best_schedule(data.sweep, data.record.trials, data.ranked[0]) if data.ranked else []
    xs = [x for step in steps for x in (step.first - 1, step.last)]
    ys = [step.trial for step in steps for _ in range(2)]
    name = f"what led to the best, {data.ranked[0].name}" if data.ranked else ""
    figure.add_trace(
        Scatter(x=xs, y=ys, mode="lines", line={"color": BEST, "width": 4}, name=name, opacity=0.8, hoverinfo="skip")
    )
    slant = data.sweep.asked.stop.scheduler_options["interval"] / 5  # so that arrows at one epoch can be told apart
    for trial in trials:
        for stretch in trial.exploits:
            if stretch.donor in shown:
                at = stretch.first - 1
                figure.add_annotation(
                    x=at + slant, y=trial.number, ax=at, ay=stretch.donor, xref="x", yref="y", axref="x", ayref="y", text="",
                    showarrow=True, arrowhead=2, arrowsize=1, arrowwidth=1, arrowcolor=INK, opacity=0.7,
                )  # fmt: skip
    figure.update_yaxes(
        tickvals=sorted(shown), ticktext=[trial_name(number) for number in sorted(shown)], autorange="reversed"
    )
    figure.update_xaxes(rangemode="tozero")
    return figure
