"""A judgement on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fersweep.results.evaluate.tables import asked, judgement_title
from fersweep.results.scores.figures import SETS
from fersweep.trainables.metrics import SCORES

if TYPE_CHECKING:
    from fersweep.results.evaluate.model_judgement import ModelJudgement


def html(judged: ModelJudgement) -> str:
    """A self-contained page: scores, and what results/scores/charts.py draws of the answers."""
    from fersweep.common.display.page import Section, html_table, page
    from fersweep.results.scores.charts import sections

    figures, task = judged.figures, judged.task
    sets = figures.sets()
    baseline = next(iter(sets.values())).baseline
    assert baseline is not None  # judge always has one
    rows = [["faces", *[scores.num_faces for scores in sets.values()], ""]]
    for name in SCORES:
        cells = [str(scores.score(name)) for scores in sets.values()]
        rows.append([name.replace("_", " "), *cells, f"{baseline.score(name):.3f}"])
    columns = ["", *(SETS[key] for key in sets), f"always {baseline.majority}"]
    notes = "; ".join(filter(None, [*judged.notes, asked(figures), figures.faces, figures.protocol]))
    answers = figures.shared or figures.detected
    charts = sections(
        task.classes, judged.y, judged.probabilities, task, judged.split, figures=answers, protocol=figures.protocol
    )
    if figures.shared:  # answers of another class have no column, and no probability among the classes' own
        charts.insert(0, Section("Answers", note=f"What follows is of {SETS['shared']}."))
    lead = f"Dataset {task.place}, fingerprint {figures.fingerprint[:12]}"
    return page(
        judgement_title(judged), lead, [Section("Scores [95 % interval]", html_table(columns, rows), notes), *charts]
    )
