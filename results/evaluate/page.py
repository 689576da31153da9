"""A judgement on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fersweep.results.evaluate.tables import _what
from fersweep.results.scores import intervals

if TYPE_CHECKING:
    from fersweep.results.evaluate.judgement import Judgement


def html(judged: Judgement) -> str:
    """A self-contained page: scores, and what results/scores/charts.py draws of the answers."""
    from fersweep.common.display.page import Section, html_table, page
    from fersweep.results.scores.charts import sections

    figures = judged.figures
    sets = intervals.judged(figures)
    baseline = next(iter(sets.values()))["baseline"]
    rows = [["faces", *[one["num_faces"] for one in sets.values()], ""]]
    for name in intervals.SCORES:
        cells = [intervals.interval(one[name]) for one in sets.values()]
        rows.append([name.replace("_", " "), *cells, f"{baseline[name]:.3f}"])
    columns = ["", *(intervals.JUDGED[key] for key in sets), f"always {baseline['class']}"]
    notes = "; ".join([*figures.get("notes", ()), figures["faces"], figures["protocol"]])
    charts = sections(judged.task.classes, judged.y, judged.probabilities, judged.task, judged.split)
    lead = f"Dataset {figures['data']}, fingerprint {figures['fingerprint'][:12]}"
    return page(_what(figures), lead, [Section("Scores [95 % interval]", html_table(columns, rows), notes), *charts])
