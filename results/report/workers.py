"""How a sweep's time was spent, as sections of a page: the workers' timeline, what early stopping saved, failures."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from fersweep.common.display.charts import chart
from fersweep.common.display.colours import INK, STATES
from fersweep.common.display.page import Section, escape, html_table, plot
from fersweep.results.record.journal import TrialRecord
from fersweep.results.report.data import ReportData

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


ENDS = {**STATES, "fault": "#cc79a7", "open": "#009e73"}
SAID = {"fault": "broke off", "open": "not ended"}
MAX_LANES = 60


def sections(of: ReportData) -> list[Section]:
    """All three; where there is nothing to draw yet, they say so."""
    return [_timeline(of), _saved(of), _failures(of)]


def _timeline(of: ReportData) -> Section:
    heading, course = "Workers", of.course
    if not course.attempts:
        return Section(heading, note="No trial has been with a worker yet.")
    lanes = list(dict.fromkeys(lane for _, lane in course.lanes()))
    if course.workers_known:
        whose = "a lane for each worker process"
    else:
        whose = "drawn in as few lanes as there were trials at once (the journal does not name their processes)"
    left_out = f" The first {MAX_LANES} of {len(lanes)} lanes are drawn." if len(lanes) > MAX_LANES else ""
    breaks = " Dashed lines: the sweep was resumed." if course.breaks else ""
    return Section(
        heading,
        plot(_lanes(of, lanes[:MAX_LANES])),
        f"Which trial was with a worker when, {whose}. {course.num_at_once} at once at most; their time was idle for "
        f"{course.idle_share():.1%} and spent in epochs for {course.training_share():.1%}; the rest went into starting, "
        f"saving and waiting.{breaks}{left_out}",
    )


def _lanes(of: ReportData, lanes: list[str]) -> Figure:
    from plotly.graph_objects import Bar

    course = of.course
    unit, name = of.time_unit
    figure = chart(f"active time, {name}", height=110 + 26 * len(lanes), barmode="overlay")
    for how, color in ENDS.items():
        mine = [(one, lane) for one, lane in course.lanes() if one.how == how and lane in lanes]
        if not mine:
            continue
        figure.add_trace(
            Bar(
                base=[one.start / unit for one, _ in mine],
                x=[(one.end - one.start) / unit for one, _ in mine],
                y=[escape(lane) for _, lane in mine],
                orientation="h",
                marker={"color": color, "line": {"color": "#fff", "width": 1}},
                name=SAID.get(how, how),
                text=[f"{one.trial:04d}" for one, _ in mine],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                customdata=[
                    [one.trial, SAID.get(how, how), one.epochs, one.end - one.start, one.train_s] for one, _ in mine
                ],
                hovertemplate="trial %{customdata[0]:04d}, %{customdata[1]}<br>%{customdata[2]} epochs in %{customdata[3]:.1f} s, "
                "%{customdata[4]:.1f} s of it in epochs<extra></extra>",
            )
        )
    figure.update_layout(uniformtext={"minsize": 9, "mode": "hide"}, bargap=0.2)
    figure.update_yaxes(categoryorder="array", categoryarray=[escape(lane) for lane in reversed(lanes)])
    figure.update_xaxes(range=[0, max(course.active_s, 1e-3) / unit])
    for at in course.breaks:
        figure.add_vline(at / unit, line={"color": INK, "dash": "dash", "width": 1})
    return figure


def epoch_seconds(trial: TrialRecord) -> float | None:
    """The median epoch of a trial, seconds; None where it does not tell."""
    seconds = [row["epoch_s"] for row in trial.epochs if row.get("epoch_s")]
    return float(np.median(seconds)) if seconds else None


def _saved(of: ReportData) -> Section:
    heading, asked = "What early stopping saved", of.sweep.asked.stop.max_epochs
    ended = [trial for trial in of.record.trials.values() if trial.state in ("finished", "stopped")]
    if not ended:
        return Section(heading, note="No trial has finished or was stopped yet.")
    rows, total, saved_s = [], [0, 0], 0.0
    for state in ("finished", "stopped"):
        mine = [trial for trial in ended if trial.state == state]
        run, wanted = sum(trial.num_epochs for trial in mine), asked * len(mine)
        total = [total[0] + run, total[1] + wanted]
        seconds = [(asked - trial.num_epochs) * (epoch_seconds(trial) or 0.0) for trial in mine]
        saved_s += sum(seconds)
        if mine:
            rows.append([state, len(mine), run, wanted, f"{run / wanted:.0%}", span(sum(seconds))])
    run, wanted = total
    columns = ["trials that", "trials", "epochs run", "epochs asked", "share", "time saved"]
    html = html_table(columns, [*rows, ["all", len(ended), run, wanted, f"{run / wanted:.0%}", span(saved_s)]])
    if of.rungs:
        html += html_table(["rung (epoch)", "trials that reached it", "stopped there", "best value there"], _rungs(of))
    return Section(
        heading,
        html,
        f"{run} epochs were run where {len(ended)} trials of {asked} epochs would have taken {wanted}: "
        f"{1 - run / wanted:.0%} less, about {span(saved_s)} of the workers' training time (each trial's own median epoch, times the epochs "
        "that it was spared). Failed and open trials are left out; finished ones can be shorter, too, through an early "
        "stopping of their own.",
    )


def _rungs(of: ReportData) -> list[list[object]]:
    better = np.fmax if of.mode == "max" else np.fmin
    rows: list[list[object]] = []
    for level in of.rungs:
        there = [trial for trial in of.record.trials.values() if trial.num_epochs >= level]
        stopped = [one for one in there if one.state == "stopped" and str(one.reason).endswith(f"at epoch {level}")]
        values = [better.reduce(of.values(trial)[:level]) for trial in there]
        best = float(better.reduce(values)) if values else None
        rows.append([level, len(there), len(stopped), best])
    return rows


def _failures(of: ReportData) -> Section:
    heading, trials = "Failures", of.record.trials.values()
    failed = [trial for trial in trials if trial.state == "failed"]
    broke_off = sum(one.how == "fault" for one in of.course.attempts)
    again = f" {broke_off} attempts broke off; their trials were tried again." if broke_off else ""
    if not failed:
        return Section(heading, note=f"No trial failed.{again}")
    reasons: dict[str, list[TrialRecord]] = {}
    for trial in failed:
        reasons.setdefault(str(trial.reason), []).append(trial)
    counts = Counter({reason: len(mine) for reason, mine in reasons.items()})
    rows = [
        [number, reason, ", ".join(trial.name for trial in reasons[reason][:10]) + ("…" if number > 10 else "")]
        for reason, number in counts.most_common()
    ]
    return Section(
        heading,
        html_table(["trials", "reason", "which"], rows),
        f"{len(failed)} of {len(trials)} trials failed.{again}",
    )


def span(seconds: float) -> str:
    """`1 h 05 min`, `3 min 20 s` or `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{seconds:.3g} s"
