"""A comparison as one HTML page: `fersweep compare … --html FILE`."""

# Parts of plotly have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fersweep.common.display.charts import chart
from fersweep.common.display.colours import CLASSES
from fersweep.common.display.page import Section, escape, html_table, page, plot
from fersweep.common.display.tables import short
from fersweep.results.compare.data import ComparedSweeps, ComparedTrials, Pair, SweepSummary, SweepTrials
from fersweep.results.compare.objectives import (
    cost_cells,
    cost_columns,
    front_cell,
    front_heading,
    infeasible_lines,
)
from fersweep.results.compare.tables import (
    AGAINST,
    FINALISTS,
    SHARED,
    WARNING,
    against_cell,
    budget_line,
    by_state,
    difference_cells,
    ended_cell,
    epoch_cell,
    facts,
    finalist_rows,
    finalists_note,
    noise_note,
    ranking,
    score_title,
)
from fersweep.results.record.journal import Hparams, trial_name
from fersweep.results.scores.paired import correction

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def sweep_page(compared: SweepTrials) -> str:
    """The page of one sweep."""
    states, rows, baselines = by_state(compared.states, "no trials yet"), compared.trials, compared.baselines
    lead = f"{compared.trainable} on {compared.dataset.name}: {states}; {compared.total_epochs} epochs. {budget_line(compared)}{ranking(compared)}"
    lead = " ".join([lead, *(f"{note}." for note in compared.notes)])
    names, costs = list(dict.fromkeys(name for row in rows for name in row.scores)), cost_columns(compared)
    front = front_heading(compared)
    scores = [
        [
            trial_name(row.trial),
            ended_cell(row),
            *front_cell(compared, row),
            epoch_cell(row),
            against_cell(row),
            *map(row.scores.get, names),
            *cost_cells(row, costs),
        ]
        for row in rows
    ]
    scores += [
        [baseline.name, "baseline", *[""] * len(front), "", "", *map(baseline.scores.get, names), *[""] * len(costs)]
        for baseline in baselines
    ]
    recall = [[trial_name(row.trial), *row.recall.values()] for row in rows if row.recall]
    recall += [[baseline.name, *baseline.recall.values()] for baseline in baselines]
    hparams = _hparams([(trial_name(row.trial), row.hparams) for row in rows])
    sections = [
        Section(
            "Trials",
            html_table(["trial", "ended", *front, "best epoch", AGAINST, *names, *costs], scores),
            " ".join([*(f"{line}." for line in infeasible_lines(compared)), noise_note(compared)]),
        ),
        Section("Recall", html_table(["trial", *compared.classes], recall)),
        Section("Hparams", hparams, "Those that varied."),
    ]
    if compared.finalists:
        rows = html_table(FINALISTS, finalist_rows(compared.finalists))
        sections.insert(1, Section("Finalists", rows, finalists_note(compared.finalists)))
    return page(f"Sweep {compared.sweep}", lead, sections)


def sweeps_page(compared: ComparedSweeps) -> str:
    """The page of several sweeps."""
    columns = {summary.sweep: facts(summary) for summary in compared.sweeps}
    headings = list(dict.fromkeys(heading for column in columns.values() for heading in column))
    rows = [[heading, *(column.get(heading) for column in columns.values())] for heading in headings]
    sections = [Section("Sweeps", _reasons(compared.reasons) + html_table(["", *columns], rows))]
    if any(summary.best and summary.best.low is not None for summary in compared.sweeps):
        note = "With the 95 % interval of a bootstrap over val: over persons, with twins as one, where the dataset is at hand and knows them; else faces are taken for independent. A dash marks the baseline."
        sections.append(Section("Best trials", plot(_intervals(compared.sweeps)), note))
    if compared.pairs:
        note = f"Of the best of each, {SHARED}; {correction(len(compared.pairs))}."
        sections.append(Section("Differences", _pairs(compared.pairs, compared.score), note))
    if trials := compared.trials:
        rows = [
            [trial.name, ended_cell(trial), epoch_cell(trial), trial.value, against_cell(trial)] for trial in trials
        ]
        table = html_table(["trial", "ended", "best epoch", "value", AGAINST], rows)
        hparams = _hparams([(trial.name, trial.hparams) for trial in trials])
        sections += [Section("Trials of all", table), Section("Hparams", hparams)]
    if compared.differences:
        sections.append(_other_hparams(compared.differences))
    return page(f"Sweeps {', '.join(columns)}", WARNING, sections)


def trials_page(compared: ComparedTrials) -> str:
    """The page of two trials."""
    a, b = compared.a, compared.b
    names = list(dict.fromkeys([*a.scores, *b.scores]))
    rows = [[name, a.scores.get(name), b.scores.get(name)] for name in names]
    sections = [
        Section("Scores", _reasons(compared.reasons) + html_table(["", a.name, b.name], rows)),
        Section("Difference", _pairs([compared.pair], compared.score), f"{SHARED[0].upper()}{SHARED[1:]}."),
        _other_hparams(compared),
    ]
    return page(f"{a.name} and {b.name}", WARNING, sections)


def _intervals(summaries: Sequence[SweepSummary]) -> Figure:
    from plotly import graph_objects

    figure = chart(x="value on val", height=120 + 40 * len(summaries), showlegend=False)
    for index, summary in enumerate(summaries):
        best, baseline = summary.best, summary.baseline
        if best is None or best.low is None or best.high is None:
            continue
        name, color = escape(summary.sweep), CLASSES[index % len(CLASSES)]
        error = {"type": "data", "array": [best.high - best.value], "arrayminus": [best.value - best.low]}
        point = {"x": [best.value], "y": [name], "marker": {"color": color, "size": 10}}
        figure.add_trace(graph_objects.Scatter(**point, error_x=error | {"symmetric": False}, mode="markers"))
        if baseline.value is not None:
            marker = {"symbol": "line-ns-open", "size": 14, "color": color}
            point = {"x": [baseline.value], "y": [name], "hovertext": escape(baseline.name)}
            figure.add_trace(graph_objects.Scatter(**point, marker=marker, mode="markers"))
    return figure


def _pairs(pairs: Sequence[Pair], score: str) -> Markup:
    columns = ["first", "second", f"{score_title(score)}, first − second", "95 % interval", "p", "McNemar p", "on"]
    return html_table(columns, [[pair.a, pair.b, *difference_cells(pair)] for pair in pairs])


def _other_hparams(compared: ComparedTrials) -> Section:
    rows = [[name, *map(_text, values)] for name, values in compared.hparams.items()]
    table = html_table(["hparam", compared.a.name, compared.b.name], rows)
    return Section("Hparams that differ", table, f"{compared.num_same} others are the same.")


def _hparams(trials: Sequence[tuple[str, Hparams]]) -> Markup:
    """Of (name, hparams) of each trial."""
    names = list(dict.fromkeys(name for _, hparams in trials for name in hparams))
    rows = [[trial, *(_text(hparams.get(name)) for name in names)] for trial, hparams in trials]
    return html_table(["trial", *names], rows)


def _reasons(reasons: Sequence[str]) -> Markup:
    return Markup().join(
        Markup("<p><strong>The scores below are not comparable:</strong> {}</p>").format(line) for line in reasons
    )


def _text(value: Any) -> str | None:
    return None if value is None else short(value)
