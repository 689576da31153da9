"""An evaluation as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fersweep.common.display.tables import table
from fersweep.common.stores.buckets import name_of
from fersweep.results.evaluate.ledger import in_words
from fersweep.results.scores.figures import SETS, Figures
from fersweep.results.scores.intervals import cell
from fersweep.trainables.metrics import SCORES

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from fersweep.common.display.fitting_table import FittingTable
    from fersweep.results.evaluate.model_judgement import Mistake, ModelJudgement


WORST = 8  # mistakes that the terminal shows


def render_judgement(judged: ModelJudgement) -> RenderableType:
    """Scores, classes, the worst mistakes and notes."""
    from rich.console import Group

    figures = judged.figures
    tables = [_scores(figures, f"{judgement_title(judged)}: scores [95 % interval]"), _classes(figures)]
    if judged.mistakes:
        tables.append(_mistakes(judged.mistakes))
    notes = [
        *judged.notes,
        figures.faces,
        f"Intervals: {figures.protocol}.",
        *filter(None, [asked(figures)]),
        *(f"drawn: {path}" for path in judged.pictures or ()),
    ]
    return Group(*tables, *map(_note, notes))


def judgement_title(judged: ModelJudgement) -> str:
    seen = judged.figures.seen
    marked = " (with faces that it learned)" if seen is not None and seen.judged else ""
    return f"{judged.model} on {judged.split} of {name_of(judged.task.place)}{marked}"


def render(figures: Figures, title: str) -> RenderableType:
    """The figures of `evaluate`: scores, and scores by class."""
    from rich.console import Group

    refit = f"Refit: {figures.refit}." if figures.refit else ""
    joined = f"{figures.joined.sentence()}." if figures.joined else ""
    notes = [figures.faces, f"Intervals: {figures.protocol}.", refit, joined, asked(figures)]
    return Group(_scores(figures, title), _classes(figures), *map(_note, filter(None, notes)))


def asked(figures: Figures) -> str:
    """How often the faces of test were judged; "" where that was not counted."""
    return "" if figures.asked is None else in_words(figures.asked)


def _note(line: str) -> Text:
    from rich.text import Text

    return Text(line, style="dim")


def _scores(figures: Figures, title: str) -> FittingTable:
    sets, detected = figures.sets(), figures.detected
    baseline = next(iter(sets.values())).baseline
    assert baseline is not None  # evaluate always has one
    shown = table(["", *(SETS[key] for key in sets), "majority"], 1, title)
    shown.add_row("faces", *[str(scores.num_faces) for scores in sets.values()], "")
    for name in SCORES:
        cells = [str(scores.score(name)) for scores in sets.values()]
        shown.add_row(name.replace("_", " "), *cells, f"{baseline.score(name):.3f}")
    if detected.auc is not None:
        shown.add_row("AUC (one vs rest)", f"{detected.auc:.3f}", *[""] * (len(sets) - 1), "0.500")
    if detected.calibration is not None:
        shown.add_row("ECE", f"{detected.calibration.ece:.3f}")
    return shown


def _classes(figures: Figures) -> FittingTable:
    (main, ranked), *others = figures.sets().items()
    columns = ["class", "precision", "recall", "f1", "faces", *(f"recall, {key}" for key, _ in others)]
    shown = table(columns, 1, f"by class, {SETS[main]}")
    for name in figures.classes:
        cells = ranked.per_class[name].cells()
        shown.add_row(name, *cells, *[cell(scores.per_class[name].recall) for _, scores in others])
    return shown


def _mistakes(mistakes: Sequence[Mistake]) -> FittingTable:
    from rich.text import Text

    shown = table(["true", "predicted", "probability", "face", "source"], 2, wraps=["face", "source"])
    shown.title = f"the most confident {min(WORST, len(mistakes))} of {len(mistakes)} mistakes (--json has all)"
    for mistake in mistakes[:WORST]:
        cells = [f"{mistake.probability:.3f}", mistake.face_id[:12], Text(mistake.source)]
        shown.add_row(mistake.true, mistake.predicted, *cells)
    return shown
