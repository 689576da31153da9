"""Distributions of one number in each class, drawn as ridges one above the other: scores, and angles of the head.

Shapes: N faces, C classes, B bins.
"""

# Parts of plotly have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import chart, side_by_side
from fersweep.common.display.colours import INK
from fersweep.common.display.page import Choices, plot, subheading
from fersweep.data_pipeline.describe import statistics
from fersweep.data_pipeline.describe.charts import BARE, colour
from fersweep.data_pipeline.describe.train_scores import TrainScores

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


NUM_RIDGES = 6  # scores whose distributions are side by side
NUM_STEPS = 32  # of a distribution
ANGLES = ("yaw", "pitch", "roll")


def distributions(scores: TrainScores) -> Markup:
    """The distribution of each score by class: the most informative ones side by side, then one that is chosen.

    The axes are logarithmic, from the 0.5 % to the 99.8 % quantile.
    """
    order = scores.ranked()
    x, names = scores.x[:, order], [scores.names[index] for index in order]
    low, high = np.log10(np.maximum(statistics.quantiles(x, (0.005, 0.998)), 1e-7))
    low = np.minimum(low, high - 0.3)
    places = np.clip((np.log10(np.maximum(x, 1e-9)) - low) / (high - low), 0, 1)
    shares = statistics.densities(places, scores.y, len(scores.labels), np.linspace(0, 1, NUM_STEPS + 1))
    ridges = {
        name: _Ridge(shares[i], places[:, i], scores.y, _log_ticks(low[i], high[i])) for i, name in enumerate(names)
    }
    small = [_ridges(ridges[name], scores.labels, name, 66 + 26 * len(scores.labels)) for name in names[:NUM_RIDGES]]
    chosen = _ridges(ridges[names[0]], scores.labels, names[0], 90 + 46 * len(scores.labels))
    return side_by_side(small, 300) + subheading("Any score") + plot(chosen, choices=_ridge_choices("score", ridges))


def _log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Places in [0, 1] of three to eight round numbers between 10**low and 10**high, and the numbers."""
    steps = (1,) if high - low > 2.5 else (1, 3) if high - low > 1.2 else (1, 2, 5)
    exponents = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    numbers = [(np.log10(step) + exponent, f"{step * 10.0**exponent:g}") for exponent in exponents for step in steps]
    inside = [(float((value - low) / (high - low)), text) for value, text in numbers if low <= value <= high]
    return [place for place, _ in inside], [text for _, text in inside]


class _Ridge:
    """The distribution of one number in each class: heights (C, B), the highest of each class 0.9, and medians (C,).

    shares: (C, B). places: (N,) each face's number on the axis from 0 to 1. ticks: places and their texts.
    """

    def __init__(self, shares: np.ndarray, places: np.ndarray, y: np.ndarray, ticks: tuple[list[float], list[str]]):
        self.heights = 0.9 * shares / np.maximum(shares.max(axis=1, keepdims=True), 1e-9)
        self.ticks = ticks
        of_class = [places[(y == label) & ~np.isnan(places)] for label in range(len(shares))]
        self.medians = [float(np.median(values)) if len(values) else None for values in of_class]

    def outline(self, index: int, number: int) -> np.ndarray:
        """(B + 2,) float32 heights of class `index` of `number`, on its own base line."""
        return np.concatenate([[0], self.heights[index], [0]]).astype(np.float32) + (number - 1 - index)


def _ridges(ridge: _Ridge, labels: Sequence[str], title: str, height: int) -> Figure:
    from plotly.graph_objects import Scatter

    number, centres = len(labels), (np.arange(NUM_STEPS) + 0.5) / NUM_STEPS
    along = np.concatenate([[0], centres, [1]]).astype(np.float32)
    figure = chart(title, height=height, showlegend=False, margin=BARE)
    for index, label in enumerate(labels):
        figure.add_trace(
            Scatter(x=along, y=ridge.outline(index, number), fill="toself", mode="lines", hoverinfo="skip")
            .update(line={"color": colour(label), "width": 1}, fillcolor=_faint(colour(label)))
        )  # fmt: skip
    figure.add_trace(
        Scatter(x=ridge.medians, y=[number - 1 - index + 0.12 for index in range(number)], mode="markers")
        .update(marker={"symbol": "line-ns-open", "size": 10, "color": INK, "line": {"width": 2}})
        .update(hovertemplate="median of %{text}<extra></extra>", text=list(labels))
    )  # fmt: skip
    figure.update_yaxes(tickvals=[number - 1 - i for i in range(number)], ticktext=list(labels), range=[-0.1, number])
    return figure.update_xaxes(tickvals=ridge.ticks[0], ticktext=ridge.ticks[1], range=[0, 1], zeroline=False)


def _ridge_choices(name_of_list: str, ridges: Mapping[str, _Ridge]) -> Choices:
    number = len(next(iter(ridges.values())).heights)
    slot = f"{{{name_of_list}}}"
    bindings = {f"data.{index}.y": f"{slot}|{index}" for index in range(number)}
    bindings |= {f"data.{number}.x": f"{slot}|medians", "layout.xaxis.title.text": slot}
    bindings |= {"layout.xaxis.tickvals": f"{slot}|places", "layout.xaxis.ticktext": f"{slot}|ticks"}
    values: dict[str, Any] = {}
    for name, ridge in ridges.items():
        values |= {f"{name}|{index}": ridge.outline(index, number) for index in range(number)}
        values |= {f"{name}|medians": ridge.medians, f"{name}|places": ridge.ticks[0], f"{name}|ticks": ridge.ticks[1]}
    return Choices({name_of_list: list(ridges)}, bindings, values)


def angle_ridges(angles: np.ndarray, y: np.ndarray, labels: Sequence[str]) -> Markup:
    """Yaw, pitch and roll (N, 3) degrees of each class y (N,)."""
    far = float(np.quantile(np.abs(angles), 0.995))
    reach = next((limit for limit in (10, 20, 40, 60) if limit >= far), 90)
    places = np.clip((angles + reach) / (2 * reach), 0, 1)
    shares = statistics.densities(places, y, len(labels), np.linspace(0, 1, NUM_STEPS + 1))
    ticks = [0, 0.25, 0.5, 0.75, 1], [f"{at:g}°".replace("-", "−") for at in np.linspace(-reach, reach, 5)]
    ridges = [_Ridge(shares[index], places[:, index], y, ticks) for index in range(len(ANGLES))]
    height = 66 + 26 * len(labels)
    figures = [_ridges(ridge, labels, name, height) for ridge, name in zip(ridges, ANGLES, strict=True)]
    return side_by_side(figures, 300)


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.35)"
