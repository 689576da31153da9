"""The history of a search and its learning curves as pictures, for a page that can load no script: `sections(data)`."""

# Parts of matplotlib have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import make_figure, side_by_side
from fersweep.common.display.colours import BEST, FAINT, INK, STATES
from fersweep.common.display.page import Section, image
from fersweep.results.record.journal import TrialRecord
from fersweep.results.report.data import ReportData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


WIDTH, HEIGHT = 6.4, 4.2  # inches


def sections(data: ReportData) -> list[Section]:
    """One section; none before a trial has a value."""
    if not data.ranked:
        return []
    note = (
        f"Each trial's best {data.metric} on val, when it was reached, with the best so far as a line; and every trial's "
        f"value by {data.unit}. The best trial is {data.ranked[0].name}."
    )
    return [Section("History and learning curves", side_by_side([_history(data), _curves(data)]), note)]


def _history(data: ReportData) -> Markup:
    figure, (axes,) = make_figure(WIDTH, HEIGHT, num_axes=1)
    unit, name = data.time_unit
    points: list[tuple[float, float, TrialRecord]] = []
    for trial in data.ranked:
        best = data.recorded.best(trial)
        assert best is not None  # ranked trials have a best epoch
        at = data.timeline.epochs[trial.number][int(best["epoch"]) - 1].active_s / unit
        points.append((at, best[data.metric], trial))
    points.sort(key=lambda point: point[0])
    x, y = np.array([point[0] for point in points]), np.array([point[1] for point in points])
    so_far = (np.maximum if data.mode == "max" else np.minimum).accumulate(y)
    axes.step(x, so_far, where="post", color=BEST, linewidth=2, label="best so far")
    for state, color in STATES.items():
        chosen = np.array([point[2].state == state for point in points])
        if chosen.any():
            axes.plot(x[chosen], y[chosen], "o", color=color, markersize=4, label=state)
    return picture(figure, axes, f"active time, {name}", data.metric, f"History of {len(points)} trials")


def _curves(data: ReportData) -> Markup:
    figure, (axes,) = make_figure(WIDTH, HEIGHT, num_axes=1)
    labelled: set[str] = set()
    trials = [trial for trial in data.record.trials.values() if trial.epochs]
    for trial in trials:
        values, label = data.values(trial), trial.state if trial.state not in labelled else None
        labelled.add(trial.state)
        axes.plot(
            data.come(trial),
            values,
            ".-" if len(values) == 1 else "-",
            color=STATES[trial.state],
            linewidth=0.8,
            alpha=0.8 if len(trials) <= 20 else 0.4,
            label=label,
        )
    best = data.ranked[0]
    axes.plot(data.come(best), data.values(best), color=BEST, linewidth=2, label=f"best, {best.name}")
    return picture(figure, axes, data.unit, data.metric, f"Learning curves of {len(trials)} trials")


def picture(figure: Figure, axes: Axes, x: str, y: str, title: str) -> Markup:
    """A figure with the titles of its axes and its legend, as an image whose text is `title`."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, labelcolor=INK)
    figure.tight_layout()
    canvas: Any = figure.canvas
    canvas.draw()
    pixels: np.ndarray = np.asarray(canvas.buffer_rgba())[..., :3]
    return image(pixels, title)
