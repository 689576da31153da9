"""The features of the faces that a model gets right and of those that it gets wrong, as a section of a page.

Shapes: N faces, F features.
"""

# Parts of plotly have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fersweep.common.display.charts import chart, side_by_side
from fersweep.common.display.colours import CLASSES, RIGHT, WRONG
from fersweep.common.display.page import Section, escape, plot
from fersweep.data_pipeline.tasks.features import counterpart, is_score

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from fersweep.data_pipeline.tasks.task import Task


NUM_FEATURES = 6
COORDINATES = (
    " landmark61x is the x of point 61 of MediaPipe's face mesh, from the middle of the eyes, in units of the distance "
    "between their outer corners; y points down."
)
MAX_POINTS = 4000  # of a scatter plot


def section(classes: Sequence[str], x: np.ndarray, y: np.ndarray, right: np.ndarray, task: Task, split: str) -> Section:
    """The features that tell the classes apart best.

    Args:
        x: (N, F) float32 features of `task`'s faces of `split`.
        y: (N,) class indices.
        right: (N,) bool, whether the model's answer is y.
    """
    names = task.feature_names
    what = "Blendshapes" if task.spec.features == "blendshapes" else "Features"
    heading, scored = f"{what} of right and wrong answers", is_score(names)
    alive = ~scored | (x.max(axis=0) >= task.spec.varying_min)
    shares = np.where(alive, explained(x, y), 0.0)  # dead scores say nothing
    chosen = _without_twins(names, np.argsort(-shares, kind="stable"))[:NUM_FEATURES]
    chosen = [index for index in chosen if shares[index] > 0]
    if not chosen:
        return Section(heading, note="No feature differs from class to class.")
    figures = [_boxes(classes, x[:, i], y, right, f"{names[i]} (η² {shares[i]:.2f})") for i in chosen]
    html = side_by_side(figures, 340)
    if len(chosen) > 1:
        first, second = chosen[:2]
        html += plot(_scatter(classes, x[:, [first, second]], y, right, [names[first], names[second]]))
    return Section(
        heading,
        html,
        f"The {what.lower()} that tell the classes of {split} apart best, one of each left and right pair (η²: the share of "
        "their variance that the class explains). Each box: quartiles, with 5 % of the faces beyond either whisker, of the "
        "faces of a class that the model gets right, and of those that it gets wrong. Where the two differ, the mistakes "
        "look like another class. Below, the first two against each other." + (COORDINATES if not scored.all() else ""),
    )


def explained(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(F,) share of the variance of each feature of x (N, F) that the class y (N,) explains: Pearson's correlation ratio η²."""
    total = x.var(axis=0, dtype=np.float64) * len(x)
    mean, between = x.mean(axis=0, dtype=np.float64), np.zeros(x.shape[1])
    for index in np.unique(y):
        rows = x[y == index]
        between += len(rows) * (rows.mean(axis=0, dtype=np.float64) - mean) ** 2
    return np.where(total > 1e-9, between / np.maximum(total, 1e-9), 0.0)


def _without_twins(names: Sequence[str], order: np.ndarray) -> list[int]:
    """`order` without the other side of a left and right pair."""
    seen: set[str] = set()
    kept: list[int] = []
    for index in order.tolist():
        name = counterpart(names[int(index)])
        if name not in seen:
            kept.append(index)
        seen.add(name)
    return kept


def _boxes(classes: Sequence[str], values: np.ndarray, y: np.ndarray, right: np.ndarray, title: str) -> Figure:
    from plotly.graph_objects import Box

    figure = chart(y=title, height=300, boxmode="group")
    for name, rows, color in (("right", right, RIGHT), ("wrong", ~right, WRONG)):
        groups = [values[rows & (y == index)] for index in range(len(classes))]
        quantiles = np.array(
            [np.percentile(group, [5, 25, 50, 75, 95]) if len(group) else [np.nan] * 5 for group in groups]
        )
        low, q1, median, q3, high = quantiles.T
        figure.add_trace(
            Box(
                x=[escape(label) for label in classes],
                lowerfence=low,
                q1=q1,
                median=median,
                q3=q3,
                upperfence=high,
                name=name,
                marker_color=color,
                line_width=1.5,
            )
        )
    return figure


def _scatter(classes: Sequence[str], x: np.ndarray, y: np.ndarray, right: np.ndarray, names: Sequence[str]) -> Figure:
    from plotly.graph_objects import Scatter

    figure = chart(names[0], names[1], height=460)
    shown = np.zeros(len(y), bool)
    shown[np.random.default_rng(0).permutation(len(y))[:MAX_POINTS]] = True
    for answers, rows, symbol in (("right", right, "circle"), ("wrong", ~right, "x-thin")):
        for index, name in enumerate(classes):
            points = x[shown & rows & (y == index)].astype(np.float32)
            color = CLASSES[index % len(CLASSES)]
            marker = {
                "symbol": symbol,
                "size": 5,
                "color": color,
                "line": {"color": color, "width": 1.3 * (answers == "wrong")},
            }
            figure.add_trace(
                Scatter(
                    x=points[:, 0],
                    y=points[:, 1],
                    mode="markers",
                    marker=marker,
                    opacity=0.55 if answers == "right" else 0.9,
                    name=f"{escape(name)}, {answers}",
                    hovertemplate="%{x:.2f}, %{y:.2f}",
                )
            )
    return figure
