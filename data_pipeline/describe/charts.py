"""A dataset's figures, as HTML for a page: classes, what scores say about them, where pixels differ.

    information_bars(scores), scatter(scores), brightness(grids, labels), …

Every class has the colour of its label wherever it is drawn. Shapes: N faces, F scores, C classes.
"""

# Parts of plotly have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import chart
from fersweep.common.display.colours import CLASSES, INK
from fersweep.common.display.page import Choices, plot
from fersweep.data_pipeline.describe import statistics
from fersweep.data_pipeline.describe.train_scores import TrainScores
from fersweep.data_pipeline.vocabulary import LABELS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


SPLIT_COLOURS = {"train": "#0072b2", "val": "#e69f00", "test": "#009e73"}
RED_WHITE_BLUE = [[0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#ffffff"], [0.75, "#f4a582"], [1, "#b2182b"]]
MAX_POINTS = 2400  # of a scatter plot
NUM_BEST = 12  # scores whose pairs are ranked
BARE = {"l": 10, "r": 16, "t": 8, "b": 10}  # margins of a figure without a legend


def colour(label: str) -> str:
    return CLASSES[LABELS.index(label)]


def class_bars(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> Markup:
    """Faces of each class, a bar for each split; as numbers or as shares of the split."""
    from plotly.graph_objects import Bar

    figure = chart(height=360, barmode="group", bargap=0.25)
    bindings: dict[str, str] = {}
    values: dict[str, Any] = {}
    for index, (split, numbers) in enumerate(counts.items()):
        faces = np.array([numbers.get(label, 0) for label in labels], np.float32)
        figure.add_trace(Bar(x=list(labels), y=faces, name=split, marker={"color": SPLIT_COLOURS[split]}))
        bindings[f"data.{index}.y"] = f"{split} {{show}}"
        values |= {f"{split} faces": faces, f"{split} shares of the split": faces / max(faces.sum(), 1)}
    bindings |= {"layout.yaxis.tickformat": "format {show}", "layout.yaxis.title.text": "{show}"}
    values |= {"format faces": ",d", "format shares of the split": ".0%"}
    return plot(figure, choices=Choices({"show": ["faces", "shares of the split"]}, bindings, values))


def lost_bars(parts: Mapping[str, tuple[int, int]]) -> Figure:
    """{label: (faces that were not detected, faces)}: the share of each class, with 95 % intervals."""
    from plotly.graph_objects import Bar

    shares = [part / max(whole, 1) for part, whole in parts.values()]
    bounds = [statistics.wilson(part, whole) for part, whole in parts.values()]
    figure = chart("share of the class's faces", height=80 + 30 * len(parts), showlegend=False, margin=BARE)
    figure.add_trace(
        Bar(
            x=shares,
            y=list(parts),
            orientation="h",
            marker={"color": [colour(label) for label in parts]},
            error_x={
                "type": "data",
                "array": [high - share for share, (_, high) in zip(shares, bounds, strict=True)],
                "arrayminus": [share - low for share, (low, _) in zip(shares, bounds, strict=True)],
                "color": INK,
                "thickness": 1,
            },
            customdata=list(parts.values()),
            hovertemplate="%{y}: %{customdata[0]} of %{customdata[1]}, %{x:.1%}<extra></extra>",
        )
    )
    figure.update_xaxes(tickformat=".1~%", rangemode="tozero")
    return figure.update_yaxes(autorange="reversed")


def information_bars(scores: TrainScores) -> Figure:
    """The mutual information of each score and the class, the most informative first; dead scores are gray."""
    from plotly.graph_objects import Bar

    names = [scores.names[index] for index in scores.ranked()]
    nats = scores.information[scores.ranked()]
    figure = chart("nats", height=90 + 15 * len(names), showlegend=False, bargap=0.2)
    figure.add_trace(
        Bar(
            x=nats,
            y=names,
            orientation="h",
            marker={"color": ["#8a96a3" if name in scores.dead else "#0072b2" for name in names]},
            customdata=nats / max(scores.entropy, 1e-9),
            hovertemplate="%{y}: %{x:.3f} nats, %{customdata:.1%} of the class's entropy<extra></extra>",
        )
    )
    noise = statistics.information_noise(len(scores.y), len(scores.labels))
    figure.add_vline(noise, line={"color": INK, "dash": "dot", "width": 1})
    return figure.update_yaxes(autorange="reversed", tickfont={"size": 10}, dtick=1)


def class_map(scores: TrainScores) -> Figure:
    """Correlation of each score with each class, the most informative score first."""
    from plotly.graph_objects import Heatmap

    order = scores.ranked()
    z = statistics.class_correlations(scores.x, scores.y, len(scores.labels))[order]
    figure = chart(height=90 + 15 * len(order))
    reach = max(0.1, float(np.nanmax(np.abs(z), initial=0)))
    figure.add_trace(
        Heatmap(z=z, x=scores.labels, y=[scores.names[index] for index in order], colorscale=RED_WHITE_BLUE)
        .update(zmin=-reach, zmax=reach, xgap=1, ygap=1, colorbar=_bar(), hoverongaps=False)
        .update(hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>")
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", tickfont={"size": 10}, dtick=1, showgrid=False)
    return figure.update_xaxes(side="top", showgrid=False)


def correlation_map(scores: TrainScores) -> Markup:
    """Correlations of the scores with each other: of all faces, or of a class chosen."""
    from plotly.graph_objects import Heatmap

    values = {"all classes": statistics.correlations(scores.x)}
    values |= {label: statistics.correlations(scores.x[scores.y == i]) for i, label in enumerate(scores.labels)}
    figure = chart(height=80 + 13 * len(scores.names), margin=BARE)
    figure.add_trace(
        Heatmap(z=values["all classes"], x=scores.names, y=scores.names, colorscale=RED_WHITE_BLUE, zmin=-1, zmax=1)
        .update(colorbar=_bar(), hoverongaps=False, hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>")
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", tickfont={"size": 9}, dtick=1, showgrid=False)
    figure.update_xaxes(showticklabels=False, showgrid=False)
    return plot(figure, choices=Choices({"faces of": list(values)}, {"data.0.z": "{faces of}"}, values))


def _bar() -> dict[str, Any]:
    """The scale of a map's colours, below it so that narrow screens have room."""
    return {"orientation": "h", "y": -0.01, "yanchor": "top", "thickness": 10, "len": 0.9, "outlinewidth": 0}


def best_pairs(scores: TrainScores) -> list[tuple[float, str, str]]:
    """(nats, score, score) of the pairs of the most informative scores, the most informative pair first."""
    best = scores.ranked()[:NUM_BEST]
    pairs = statistics.pair_information(scores.x[:, best], scores.y)
    return [(nats, scores.names[best[i]], scores.names[best[j]]) for nats, i, j in pairs]


def scatter(scores: TrainScores, pair: tuple[str, str]) -> Markup:
    """Two scores of some faces of each class; any two can be chosen, `pair` at first."""
    from plotly.graph_objects import Scatter

    drawn = statistics.spread_sample(scores.y, MAX_POINTS // len(scores.labels))
    figure, bindings, values = chart(height=520, legend_itemsizing="constant"), {}, {}
    for index, label in enumerate(scores.labels):
        rows = drawn[scores.y[drawn] == index]
        figure.add_trace(_points(Scatter(name=label), label))
        bindings |= {f"data.{index}.x": f"{{across}}|{index}", f"data.{index}.y": f"{{up}}|{index}"}
        values |= {f"{name}|{index}": scores.x[rows, place] for place, name in enumerate(scores.names)}
    bindings |= {"layout.xaxis.title.text": "{across}", "layout.yaxis.title.text": "{up}"}
    bindings |= {f"layout.{axis}.{key}": f"{{axes}} {key}" for axis in ("xaxis", "yaxis") for key in ("type", "dtick")}
    values |= {"log type": "log", "log dtick": 1, "linear type": "linear", "linear dtick": 0}  # 0: plotly chooses
    ranked = [scores.names[index] for index in scores.ranked()]
    lists = {
        "across": [pair[0], *(name for name in ranked if name != pair[0])],
        "up": [pair[1], *(name for name in ranked if name != pair[1])],
        "axes": ["log", "linear"],
    }
    figure.update_xaxes(exponentformat="power").update_yaxes(exponentformat="power")
    return plot(figure, choices=Choices(lists, bindings, values))


def plane(places: np.ndarray, y: np.ndarray, labels: Sequence[str], axes: tuple[str, str]) -> Figure:
    """Faces at places (N, 2), coloured by class y (N,). axes: their titles; "" for one whose numbers mean nothing."""
    from plotly.graph_objects import Scatter

    figure = chart(*axes, height=520, legend_itemsizing="constant")
    for index, label in enumerate(labels):
        of_class = places[y == index].astype(np.float32)
        figure.add_trace(_points(Scatter(name=label, x=of_class[:, 0], y=of_class[:, 1]), label))
    low, high = np.quantile(places, (0.002, 0.998), axis=0)  # one face far off would crowd all others
    room = 0.06 * np.maximum(high - low, 1e-6)
    options: list[dict[str, Any]] = [
        {"zeroline": False, "showticklabels": bool(title), "range": [low[i] - room[i], high[i] + room[i]]}
        for i, title in enumerate(axes)
    ]
    return figure.update_xaxes(**options[0]).update_yaxes(**options[1])


def _points(trace: Any, label: str) -> Any:
    return trace.update(mode="markers", marker={"size": 5, "opacity": 0.6, "color": colour(label)}, hoverinfo="name")


def brightness(grids: Mapping[int, statistics.BrightnessGrid], labels: Sequence[str], present: Sequence[int]) -> Markup:
    """AUC of each cell's brightness for a pair of classes, as a red-white-blue map; pair and number of cells are chosen.

    grids: {n: faces shrunk to n×n, of the classes `labels`}. present: indices of the classes that have faces, two or more.
    """
    from plotly.graph_objects import Heatmap

    pairs = [(i, j) for j in present for i in present if i < j]
    pairs.sort(key=lambda pair: (labels[pair[0]], labels[pair[1]]) != ("angry", "surprise"))
    values: dict[str, Any] = {f"text of {n}×{n}": "%{z:.3f}" if n <= 6 else "" for n in grids}
    for n, grid in grids.items():
        for i, j in pairs:
            values[f"{labels[i]} against {labels[j]}|{n}×{n}"] = grid.auc(i, j)
            values[f"{labels[i]} against {labels[j]}|title"] = (
                f"red: brighter in {labels[j]} · blue: brighter in {labels[i]}"
            )
    maps = [value for value in values.values() if isinstance(value, np.ndarray)]
    reach = max(0.05, *(float(np.nanmax(np.abs(value - 0.5), initial=0)) for value in maps))
    figure = chart(height=520, margin=BARE)
    figure.add_trace(
        Heatmap(z=maps[0], colorscale=RED_WHITE_BLUE, zmin=0.5 - reach, zmax=0.5 + reach, colorbar=_bar())
        .update(textfont={"size": 13}, hoverongaps=False, hovertemplate="%{z:.3f}<extra></extra>")
    )  # fmt: skip
    plain: dict[str, Any] = {"showticklabels": False, "showgrid": False, "zeroline": False, "constrain": "domain"}
    figure.update_yaxes(autorange="reversed", scaleanchor="x", **plain).update_xaxes(side="top", **plain)
    bindings = {
        "data.0.z": "{AUC of}|{cells}",
        "data.0.texttemplate": "text of {cells}",
        "layout.xaxis.title.text": "{AUC of}|title",
    }
    lists = {
        "AUC of": [f"{labels[i]} against {labels[j]}" for i, j in pairs],
        "cells": [f"{n}×{n}" for n in grids],
    }
    return plot(figure, choices=Choices(lists, bindings, values))


def mean_shapes(shapes: np.ndarray, labels: Sequence[str], lines: Sequence[Sequence[int]], times: float) -> Markup:
    """The mean face of each class (C, P, 2), its difference from the mean of the classes drawn `times` as large.

    lines: chains of points (0 … P - 1) to connect.
    """
    from plotly.graph_objects import Scatter

    middle = np.nanmean(shapes, axis=0)
    drawn = {label: middle + times * (shape - middle) for label, shape in zip(labels, shapes, strict=True)}
    figure = chart(height=520, showlegend=False, margin=BARE)
    base = _outline(middle, lines)
    figure.add_trace(
        Scatter(x=base[:, 0], y=base[:, 1], mode="lines", line={"color": "#a9b4c0", "width": 2}, hoverinfo="skip")
    )
    figure.add_trace(Scatter(mode="lines", line={"width": 2}, hoverinfo="skip"))
    values: dict[str, Any] = {}
    for label, shape in drawn.items():
        outline = _outline(shape, lines)
        values |= {f"{label}|x": outline[:, 0], f"{label}|y": outline[:, 1], f"{label}|colour": colour(label)}
    bindings = {"data.1.x": "{class}|x", "data.1.y": "{class}|y", "data.1.line.color": "{class}|colour"}
    plain: dict[str, Any] = {"showticklabels": False, "showgrid": False, "zeroline": False}
    figure.update_yaxes(autorange="reversed", scaleanchor="x", **plain).update_xaxes(**plain)
    return plot(figure, choices=Choices({"class": list(drawn)}, bindings, values))


def _outline(points: np.ndarray, lines: Sequence[Sequence[int]]) -> np.ndarray:
    """(M, 2) float32: the chains one after the other, with NaN between them."""
    gap = np.full((1, 2), np.nan)
    return np.concatenate([part for line in lines for part in (points[list(line)], gap)]).astype(np.float32)
