"""What an evaluation found, for people: tables for the terminal, a page of HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from results import scoring
from results.tables import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from results.evaluate import Judgement

WORST = 8  # mistakes that the terminal shows


def render(figures: dict[str, Any], title: str = "") -> RenderableType:
    """The figures of `evaluate` as tables for the terminal."""
    from rich.console import Group
    from rich.text import Text

    sets = scoring.judged(figures)
    (main, ranked), *others = sets.items()
    title = title or f"{_what(figures)}: scores [95 % interval]"
    scores = table(["", *(scoring.JUDGED[key] for key in sets), "majority"], 1, title)
    scores.add_row("faces", *[str(one["num_faces"]) for one in sets.values()], "")
    for name in scoring.SCORES:
        cells = [scoring.interval(one[name]) for one in sets.values()]
        scores.add_row(name.replace("_", " "), *cells, f"{ranked['baseline'][name]:.3f}")
    if figures["detected"].get("auc") is not None:
        blank = [""] * (len(sets) - 1)
        scores.add_row("AUC (one vs rest)", f"{figures['detected']['auc']:.3f}", *blank, "0.500")
    if "calibration" in figures["detected"]:
        scores.add_row("ECE", f"{figures['detected']['calibration']['ece']:.3f}")
    columns = ["class", "precision", "recall", "f1", "faces", *(f"recall, {key}" for key, _ in others)]
    classes = table(columns, 1, f"by class, {scoring.JUDGED[main]}")
    for name in figures["classes"]:
        one = ranked["per_class"][name]
        recall = {"value": one["recall"], "low": one["recall_low"], "high": one["recall_high"]}
        cells = [f"{one['precision']:.3f}", scoring.interval(recall), f"{one['f1']:.3f}", str(one["support"])]
        classes.add_row(name, *cells, *[f"{other['per_class'][name]['recall']:.3f}" for _, other in others])
    notes = [*figures.get("notes", ()), figures.get("faces", "")]
    notes += [f"drawn: {path}" for path in figures.get("pictures", ())]
    wrong = figures.get("mistakes", [])
    return Group(
        scores, classes, *([_mistakes(wrong)] if wrong else []), *(Text(note, style="dim") for note in notes if note)
    )


def _what(figures: dict[str, Any]) -> str:
    model, data = figures.get("model"), figures.get("data")
    return f"{model} on {figures['split']} of {Path(data).name}" if model and data else figures["split"]


def _mistakes(wrong: list[dict[str, Any]]) -> RenderableType:
    from rich.text import Text

    shown = table(["true", "predicted", "probability", "face", "source"], 2, wraps=["source"])
    shown.title = f"the most confident {min(WORST, len(wrong))} of {len(wrong)} mistakes (--json has all)"
    shown.title_justify = "left"
    for one in wrong[:WORST]:
        cells = [f"{one['probability']:.3f}", one["face_id"][:12], Text(one["source"])]
        shown.add_row(one["true"], one["predicted"], *cells)
    return shown


def html(judged: Judgement) -> str:
    """A self-contained page: scores, and what results/model_charts.py draws of the answers."""
    from data_pipeline.page import Section, html_table, page
    from results.model_charts import sections

    figures = judged.figures
    sets = scoring.judged(figures)
    baseline = next(iter(sets.values()))["baseline"]
    rows = [["faces", *[one["num_faces"] for one in sets.values()], ""]]
    for name in scoring.SCORES:
        cells = [scoring.interval(one[name]) for one in sets.values()]
        rows.append([name.replace("_", " "), *cells, f"{baseline[name]:.3f}"])
    columns = ["", *(scoring.JUDGED[key] for key in sets), f"always {baseline['class']}"]
    notes = "; ".join([*figures.get("notes", ()), figures["faces"], figures["protocol"]])
    charts = sections(judged.task.classes, judged.y, judged.probabilities, judged.task, judged.split)
    lead = f"Dataset {figures['data']}, fingerprint {figures['fingerprint'][:12]}"
    return page(_what(figures), lead, [Section("Scores [95 % interval]", html_table(columns, rows), notes), *charts])
