"""What an evaluation found, for people: tables for the terminal, a page of HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.common.display.tables import table
from fersweep.results.scores import intervals

if TYPE_CHECKING:
    from rich.console import RenderableType


WORST = 8  # mistakes that the terminal shows


def render(figures: dict[str, Any], title: str = "") -> RenderableType:
    """The figures of `evaluate` as tables for the terminal."""
    from rich.console import Group
    from rich.text import Text

    sets = intervals.judged(figures)
    (main, ranked), *others = sets.items()
    title = title or f"{_what(figures)}: scores [95 % interval]"
    scores = table(["", *(intervals.JUDGED[key] for key in sets), "majority"], 1, title)
    scores.add_row("faces", *[str(one["num_faces"]) for one in sets.values()], "")
    for name in intervals.SCORES:
        cells = [intervals.interval(one[name]) for one in sets.values()]
        scores.add_row(name.replace("_", " "), *cells, f"{ranked['baseline'][name]:.3f}")
    if figures["detected"].get("auc") is not None:
        blank = [""] * (len(sets) - 1)
        scores.add_row("AUC (one vs rest)", f"{figures['detected']['auc']:.3f}", *blank, "0.500")
    if "calibration" in figures["detected"]:
        scores.add_row("ECE", f"{figures['detected']['calibration']['ece']:.3f}")
    columns = ["class", "precision", "recall", "f1", "faces", *(f"recall, {key}" for key, _ in others)]
    classes = table(columns, 1, f"by class, {intervals.JUDGED[main]}")
    for name in figures["classes"]:
        one = ranked["per_class"][name]
        recall = {"value": one["recall"], "low": one["recall_low"], "high": one["recall_high"]}
        cells = [f"{one['precision']:.3f}", intervals.interval(recall), f"{one['f1']:.3f}", str(one["support"])]
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
