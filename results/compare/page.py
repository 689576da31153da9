"""A comparison as one HTML page: `fersweep compare … --html FILE`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fersweep.common.display.charts import chart
from fersweep.common.display.colours import CLASSES
from fersweep.common.display.page import Section, escape, html_table, page, plot
from fersweep.common.display.tables import short
from fersweep.results.compare.tables import WARNING, difference_cells, facts
from fersweep.results.compare.trials import AGAINST, noise_note, score_title
from fersweep.results.scores import paired

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def sweep_page(found: dict[str, Any]) -> str:
    """The page of one sweep: what `compare.compare` returned."""
    states = ", ".join(f"{number} {state}" for state, number in found["states"].items() if number)
    lead = (
        f"{found['trainable']} on {found['dataset']['name']}: {states or 'no trials yet'}; {found['total_epochs']} epochs. "
        f"Best by the {found['mode']} of {found['metric']}; scores on val, {found['faces']}."
    )
    scores = list(dict.fromkeys(name for row in found["trials"] for name in row["scores"]))
    rows = [
        [f"{row['trial']:04d}", _state(row), f"{row['best_epoch']}/{row['epochs']}", _against(row)]
        + [row["scores"].get(name) for name in scores]
        for row in found["trials"]
    ]
    rows += [
        [one["name"], "baseline", "", ""] + [one["scores"].get(name) for name in scores] for one in found["baselines"]
    ]
    recall = [[f"{row['trial']:04d}", *(row["recall"] or {}).values()] for row in found["trials"] if row["recall"]]
    recall += [[one["name"], *one["recall"].values()] for one in found["baselines"]]
    sections = [
        Section("Trials", html_table(["trial", "state", "epoch", AGAINST, *scores], rows), noise_note(found)),
        Section("Recall", html_table(["trial", *found["classes"]], recall)),
        Section("Hparams", _hparams(found["trials"], "trial"), "Those that varied."),
    ]
    return page(f"Sweep {found['sweep']}", lead, sections)


def sweeps_page(found: dict[str, Any]) -> str:
    """The page of several sweeps: what `compare_sweeps.compare_sweeps` returned."""
    told = {one["sweep"]: facts(one) for one in found["sweeps"]}
    headings = list(dict.fromkeys(heading for one in told.values() for heading in one))
    rows = [[heading, *(one.get(heading) for one in told.values())] for heading in headings]
    sections = [Section("Sweeps", _reasons(found["reasons"]) + html_table(["", *told], rows))]
    if any(one["best"] and one["best"]["low"] is not None for one in found["sweeps"]):
        note = "With the 95 % interval of a bootstrap over the faces of val; a dash marks the baseline."
        sections.append(Section("Best trials", plot(_intervals(found["sweeps"])), note))
    if found["pairs"]:
        note = f"On the same faces of val; {paired.corrected(len(found['pairs']))}."
        sections.append(Section("Differences", _pairs(found["pairs"], found["score"]), note))
    if found["trials"]:
        rows = [
            [row["name"], _state(row), f"{row['best_epoch']}/{row['epochs']}", row["value"], _against(row)]
            for row in found["trials"]
        ]
        table = html_table(["trial", "state", "epoch", "value", AGAINST], rows)
        sections += [Section("Trials of all", table), Section("Hparams", _hparams(found["trials"], "name"))]
    if found["differences"]:
        sections.append(_other_hparams(found["differences"]))
    return page(f"Sweeps {', '.join(told)}", WARNING, sections)


def differences_page(found: dict[str, Any]) -> str:
    """The page of two trials: what `compare_sweeps.differences` returned."""
    a, b = found["a"], found["b"]
    names = list(dict.fromkeys([*a["scores"], *b["scores"]]))
    rows = [[name, a["scores"].get(name), b["scores"].get(name)] for name in names]
    pair = [{"a": a["name"], "b": b["name"], **found["difference"]}]
    sections = [
        Section("Scores", _reasons(found["reasons"]) + html_table(["", a["name"], b["name"]], rows)),
        Section("Difference", _pairs(pair, found["score"]), "On the same faces of val."),
        _other_hparams(found),
    ]
    return page(f"{a['name']} and {b['name']}", WARNING, sections)


def _intervals(sweeps: list[dict[str, Any]]) -> Figure:
    from plotly import graph_objects

    figure = chart(x="value on val", height=120 + 40 * len(sweeps), showlegend=False)
    for index, one in enumerate(sweeps):
        best, name, color = one["best"], escape(one["sweep"]), CLASSES[index % len(CLASSES)]
        if best is None or best["low"] is None:
            continue
        error = {"type": "data", "array": [best["high"] - best["value"]], "arrayminus": [best["value"] - best["low"]]}
        made = {"x": [best["value"]], "y": [name], "marker": {"color": color, "size": 10}}
        figure.add_trace(graph_objects.Scatter(**made, error_x=error | {"symmetric": False}, mode="markers"))
        if one["baseline"]["value"] is not None:
            marker = {"symbol": "line-ns-open", "size": 14, "color": color}
            at = {"x": [one["baseline"]["value"]], "y": [name], "hovertext": escape(one["baseline"]["name"])}
            figure.add_trace(graph_objects.Scatter(**at, marker=marker, mode="markers"))
    return figure


def _pairs(pairs: list[dict[str, Any]], score: str) -> Markup:
    columns = ["first", "second", f"{score_title(score)}, first − second", "95 % interval", "p", "McNemar p", "on"]
    return html_table(columns, [[pair["a"], pair["b"], *difference_cells(pair, score)] for pair in pairs])


def _other_hparams(found: dict[str, Any]) -> Section:
    rows = [[name, *(_text(value) for value in values)] for name, values in found["hparams"].items()]
    table = html_table(["hparam", found["a"]["name"], found["b"]["name"]], rows)
    return Section("Hparams that differ", table, f"{found['num_same']} others are the same.")


def _hparams(rows: list[dict[str, Any]], key: str) -> Markup:
    names = list(dict.fromkeys(name for row in rows for name in row["hparams"]))
    cells = [
        [row[key] if key == "name" else f"{row[key]:04d}", *(_text(row["hparams"].get(name)) for name in names)]
        for row in rows
    ]
    return html_table(["trial", *names], cells)


def _reasons(reasons: list[str]) -> Markup:
    return Markup().join(Markup("<p><strong>Not comparable:</strong> {}</p>").format(line) for line in reasons)


def _text(value: Any) -> str | None:
    return None if value is None else short(value)


def _state(row: dict[str, Any]) -> str:
    return row["state"] + (f" ({row['point']})" if row["point"] else "")


def _against(row: dict[str, Any]) -> str:
    return paired.told(row["against_best"]) if row["against_best"] else "best"
