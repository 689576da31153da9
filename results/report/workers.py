"""How a sweep's time was spent, as sections of a page: the workers' timeline, what early stopping saved, failures."""

# Parts of plotly have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import chart
from fersweep.common.display.colours import INK, STATES
from fersweep.common.display.page import Section, escape, folded, html_table, plot
from fersweep.common.display.tables import duration
from fersweep.results.record.journal import TrialRecord, trial_name
from fersweep.results.record.ranking.progress import epochs_at, progress
from fersweep.results.record.timeline import Timeline
from fersweep.results.report.data import MAX_RUNGS, ReportData

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


ENDS = {**STATES, "fault": "#cc79a7", "open": "#009e73", "rung": "#56b4e9"}
WORDS = {"fault": "broke off", "open": "not ended", "rung": "to a rung"}
MAX_LANES, MAX_LOGS = 60, 10


def sections(data: ReportData) -> list[Section]:
    """All three; where there is nothing to draw yet, they say so."""
    return [_timeline(data), *tables(data)]


def tables(data: ReportData) -> list[Section]:
    """What early stopping saved, and failures: what needs no figure."""
    return [_saved(data), _failures(data)]


def _timeline(data: ReportData) -> Section:
    heading, timeline = "Workers", data.timeline
    if not timeline.attempts:
        return Section(heading, note="No trial has been with a worker yet.")
    found = list(dict.fromkeys(lane for _, lane in timeline.lanes()))
    workers = list(dict.fromkeys(lane.partition(" (")[0] for lane in found))
    lanes = sorted(found, key=lambda lane: workers.index(lane.partition(" (")[0]))  # those of a worker together
    if timeline.workers_known:
        several = timeline.num_at_once > timeline.num_workers
        whose = f"a lane for each worker process{', and more of them where it trains several trials at once' * several}"
    else:
        whose = "drawn in as few lanes as there were trials at once (the journal does not name their processes)"
    left_out = f" The first {MAX_LANES} of {len(lanes)} lanes are drawn." if len(lanes) > MAX_LANES else ""
    breaks = " Dashed lines: the sweep was resumed." if timeline.breaks else ""
    return Section(
        heading,
        plot(_lanes(data, lanes[:MAX_LANES])),
        f"Which trial was with a worker when, {whose}. {timeline.num_at_once} at once at most; the workers' time was idle for "
        f"{timeline.idle_share():.1%} and spent in epochs for {timeline.training_share():.1%}; the rest went into starting, "
        f"saving and waiting. {_driver(timeline)}{breaks}{left_out}",
    )


def _driver(timeline: Timeline) -> str:
    """What the sweep's driver had to do."""
    reports = f"At most {timeline.most_reports} reports came in one second"
    if not timeline.suggest_s:
        return f"{reports}."
    return f"A suggestion took the driver {1e3 * float(np.median(timeline.suggest_s)):.0f} ms (median). {reports}."


def _lanes(data: ReportData, lanes: list[str]) -> Figure:
    from plotly.graph_objects import Bar

    timeline = data.timeline
    unit, name = data.time_unit
    figure = chart(f"active time, {name}", height=110 + 26 * len(lanes), barmode="overlay")
    for how, color in ENDS.items():
        bars = [(attempt, lane) for attempt, lane in timeline.lanes() if attempt.how == how and lane in lanes]
        if not bars:
            continue
        figure.add_trace(
            Bar(
                base=np.array([attempt.start / unit for attempt, _ in bars], np.float32),
                x=np.array([(attempt.end - attempt.start) / unit for attempt, _ in bars], np.float32),
                y=[escape(lane) for _, lane in bars],
                orientation="h",
                marker={"color": color, "line": {"color": "#fff", "width": 1 if len(timeline.attempts) <= 100 else 0}},
                name=WORDS.get(how, how),
                text=[trial_name(attempt.trial) for attempt, _ in bars],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                customdata=np.array(
                    [
                        [attempt.trial, attempt.epochs, attempt.end - attempt.start, attempt.train_s]
                        for attempt, _ in bars
                    ],
                    np.float32,
                ),
                hovertemplate=f"trial %{{customdata[0]:04d}}, {WORDS.get(how, how)}<br>%{{customdata[1]}} epochs in "
                "%{customdata[2]:.1f} s, %{customdata[3]:.1f} s of it in epochs<extra></extra>",
            )
        )
    figure.update_layout(uniformtext={"minsize": 9, "mode": "hide"}, bargap=0.2)
    figure.update_yaxes(categoryorder="array", categoryarray=[escape(lane) for lane in reversed(lanes)])
    figure.update_xaxes(range=[0, max(timeline.active_s, 1e-3) / unit])
    for at in timeline.breaks:
        figure.add_vline(at / unit, line={"color": INK, "dash": "dash", "width": 1})
    return figure


def epoch_seconds(trial: TrialRecord) -> float | None:
    """The median epoch of a trial, seconds; None where it was not measured."""
    seconds = [row["epoch_s"] for row in trial.epochs if row.get("epoch_s")]
    return float(np.median(seconds)) if seconds else None


def _saved(data: ReportData) -> Section:
    heading, stop = "What early stopping saved", data.sweep.asked.stop
    asked = f"{stop.max_epochs} epochs" if stop.max_s is None else f"{stop.max_s:.10g} s"
    ended = [trial for trial in data.record.searched if trial.state in ("finished", "stopped")]
    if not ended:
        return Section(heading, note="No trial has finished or was stopped yet.")
    rows: list[list[Any]] = []
    total, saved_s = [0, 0], 0.0
    for state in ("finished", "stopped"):
        trials = [trial for trial in ended if trial.state == state]
        run, wanted = sum(trial.num_epochs for trial in trials), sum(asked_epochs(trial, data) for trial in trials)
        total = [total[0] + run, total[1] + wanted]
        seconds = [(asked_epochs(trial, data) - trial.num_epochs) * (epoch_seconds(trial) or 0.0) for trial in trials]
        saved_s += sum(seconds)
        if trials:
            rows.append([state, len(trials), run, wanted, f"{run / wanted:.0%}", duration(sum(seconds))])
    run, wanted = total
    columns = ["trials that", "trials", "epochs run", "epochs asked", "share", "time saved"]
    html = html_table(columns, [*rows, ["all", len(ended), run, wanted, f"{run / wanted:.0%}", duration(saved_s)]])
    if data.rungs:
        html += html_table(
            [f"rung ({data.unit})", "trials that reached it", "stopped there", "best value there"], _rungs(data)
        )
    return Section(
        heading,
        html,
        f"{run} epochs were run where {len(ended)} trials of {asked} would have taken {wanted}: "
        f"{1 - run / wanted:.0%} less, about {duration(saved_s)} of the workers' training time (each trial's own median epoch, times the epochs "
        "that it was spared). Failed and open trials are left out; finished ones can be shorter, too, through an early "
        "stopping of their own.",
    )


def _rungs(data: ReportData) -> list[list[object]]:
    """Where there are many, those alone at which a trial was stopped."""
    better, stop = (np.fmax if data.mode == "max" else np.fmin), data.sweep.asked.stop
    come = {
        number: progress(trial, stop.unit) for number, trial in data.record.trials.items() if trial.repeat_of is None
    }
    ends = Counter(str(t.reason).rpartition(" at ")[2] for t in data.record.trials.values() if t.state == "stopped")
    rows: list[list[object]] = []
    for level in data.rungs:
        num_stopped = ends[stop.at(level)]
        if len(data.rungs) > MAX_RUNGS and not num_stopped:
            continue
        counts = {number: count for number, epochs in come.items() if (count := epochs_at(epochs, level))}
        values = [better.reduce(data.values(data.record.trials[number])[:count]) for number, count in counts.items()]
        best = float(better.reduce(values)) if values else None
        rows.append([f"{level:.10g}", len(counts), num_stopped, best])
    return rows


def asked_epochs(trial: TrialRecord, data: ReportData) -> int:
    """How many epochs an ended trial would have trained if nothing had stopped it: of its median length, within max_s."""
    epoch_s, stop = epoch_seconds(trial), data.sweep.asked.stop
    if stop.max_s is None or not epoch_s:
        return stop.max_epochs
    return min(stop.max_epochs, max(math.ceil(stop.max_s / epoch_s), trial.num_epochs))


def _failures(data: ReportData) -> Section:
    heading, trials = "Failures", data.record.trials.values()
    failed = [trial for trial in trials if trial.state == "failed"]
    broke_off = sum(attempt.how == "fault" for attempt in data.timeline.attempts)
    again = f" {broke_off} attempts broke off; their trials were tried again." if broke_off else ""
    if not failed:
        return Section(heading, note=f"No trial failed.{again}")
    names: dict[str, list[str]] = {}
    for trial in failed:
        names.setdefault(str(trial.reason), []).append(trial.name)
    rows = [
        [number, reason, ", ".join(names[reason][:10]) + ("…" if number > 10 else "")]
        for reason, number in Counter(str(trial.reason) for trial in failed).most_common()
    ]
    wrote = [
        folded(f"Trial {trial.name}: the last lines of its process", "\n".join(trial.log))
        for trial in failed
        if trial.log
    ]
    return Section(
        heading,
        Markup().join([html_table(["trials", "reason", "which"], rows), *wrote[:MAX_LOGS]]),
        f"{len(failed)} of {len(trials)} trials failed.{again}",
    )
