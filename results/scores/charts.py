"""What a model answers, as sections of a page: what it confuses, how sure it is, the faces that it gets wrong.

    sections(task.classes, task.load("val").y, probabilities, task, "val")

Shapes: N faces, C classes, F features.
"""

# Parts of plotly and matplotlib have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from fersweep.common.display.charts import chart, figure_text, make_figure, side_by_side
from fersweep.common.display.colours import RIGHT
from fersweep.common.display.page import Section, escape, html_table, image, subheading
from fersweep.data_pipeline.tasks.clusters import clusters
from fersweep.results.scores import feature_charts, intervals
from fersweep.results.scores.intervals import FaceScores
from fersweep.trainables.metrics import SCORES

if TYPE_CHECKING:
    import matplotlib.figure

    from fersweep.data_pipeline.tasks.task import Task

NUM_MISTAKES = 32
NUM_PAIRS = 8


def sections(
    classes: Sequence[str],
    y: np.ndarray,
    probabilities: np.ndarray,
    task: Task | None = None,
    split: str = "val",
    faces: bool = True,
    figures: FaceScores | None = None,
    protocol: str = intervals.PROTOCOL,
) -> list[Section]:
    """Confusion matrix, scores of each class, calibration; with a task also the mistakes' faces, if it has any, and of
    blendshapes and landmarks those of right and of wrong answers.

    Args:
        y: (N,) class indices.
        probabilities: (N, C).
        task: whose `load(split)` these N faces are. Raises ValueError if they are not.
        faces: whether faces may be shown.
        figures: of these answers, where they are known already, and the protocol of their intervals.
    """
    if not len(y):
        return [Section("Answers", note=f"There are no answers on {split}.")]
    if figures is None:
        figures, protocol = _scored(classes, y, probabilities.argmax(axis=1), task, split)
    counts = np.array(figures.confusion)[:, :-1]
    parts = [_confused(classes, counts, split), _by_class(figures, protocol), _calibrated(y, probabilities)]
    if task is None:
        return parts
    arrays = task.load(split)
    if not np.array_equal(arrays.y, y):
        raise ValueError(f"the answers are of other faces than those of {split} in {task.place}")
    if faces and task.has_pixels:
        parts.append(_mistakes(classes, y, probabilities, task, split))
    if task.spec.features != "pixels":
        right = probabilities.argmax(axis=1) == y
        parts.append(feature_charts.section(classes, arrays.x, y, right, task, split))
    return parts


def _confused(classes: Sequence[str], counts: np.ndarray, split: str) -> Section:
    from plotly.graph_objects import Heatmap

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [escape(name) for name in classes]
    text = [
        [f"{count}<br>{share:.2f}" if row.any() else intervals.DASH for count, share in zip(row, of_row, strict=True)]
        for row, of_row in zip(counts, shares, strict=True)
    ]
    figure = chart("predicted", "true", height=130 + 46 * max(len(classes), 4))
    figure.add_trace(
        Heatmap(
            z=shares,
            x=names,
            y=names,
            text=text,
            texttemplate="%{text}",
            textfont={"size": 11},
            colorscale="Blues",
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=1,
            ygap=1,
            hovertemplate="%{y} predicted as %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="outside", tickcolor="#fff")
    figure.update_xaxes(showgrid=False, side="top")
    off = [(counts[i, j], shares[i, j], i, j) for i, j in np.argwhere(counts > 0) if i != j]
    pairs = [
        [classes[i], classes[j], int(n), round(float(share), 3)]
        for n, share, i, j in sorted(off, reverse=True)[:NUM_PAIRS]
    ]
    commonest = (
        html_table(["true", "predicted", "faces", "of the class"], pairs) if pairs else Markup("<p>No mistakes.</p>")
    )
    return Section(
        "Confusion matrix",
        side_by_side([figure, subheading("The commonest mistakes") + commonest]),
        f"{counts.sum()} faces of {split}, a row for each true class: faces, and their share of the row, which shades the "
        "cell. A perfect model has all on the diagonal.",
    )


def _scored(
    classes: Sequence[str], y: np.ndarray, predicted: np.ndarray, task: Task | None, split: str
) -> tuple[FaceScores, str]:
    """Scores, and how their intervals were made: of persons and with twins as one, where there is a task that knows them."""
    counts = intervals.count(y, predicted, len(classes))
    known = None if task is None else clusters(task, split)
    if known is None or int(known.loaded.sum()) != len(y):
        return intervals.score_faces(counts, classes), intervals.PROTOCOL
    by_cluster = intervals.count_clusters(y, predicted, len(classes), known.number[known.loaded])
    figures = intervals.score_faces(counts, classes, clusters=by_cluster)
    return figures, intervals.protocol(known.words, known.num)


def _by_class(figures: FaceScores, protocol: str) -> Section:
    rows = [[label, *row.cells()[:-1], row.support] for label, row in figures.per_class.items()]
    overall = [[name.replace("_", " "), str(figures.score(name))] for name in SCORES]
    return Section(
        "Scores by class",
        html_table(["class", "precision", "recall", "f1", "faces"], rows)
        + html_table(["classes with faces", "score"], overall),
        f"In brackets the interval: {protocol}. Precision: of the faces predicted as the class, those that are; "
        "recall: of the faces of the class, those that are found. A dash: not known, and counted in no score.",
    )


def _calibrated(y: np.ndarray, probabilities: np.ndarray) -> Section:
    from plotly.graph_objects import Bar, Scatter

    calibration = intervals.calibration(y, probabilities)
    bins, width = calibration.bins, 0.9 / intervals.BINS
    middles = [(part.low + part.high) / 2 for part in bins]
    figure = chart("confidence of the answer", "share of right answers", height=380)
    figure.add_trace(
        Bar(
            x=middles,
            y=[part.accuracy for part in bins],
            width=width,
            marker_color=RIGHT,
            name="right answers",
            customdata=[[part.num, part.confidence] for part in bins],
            hovertemplate="%{customdata[0]} faces, mean confidence %{customdata[1]:.3f}: %{y:.3f} right<extra></extra>",
        )
    )
    line = {"color": "#37424f", "dash": "dash"}
    figure.add_trace(Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="perfectly calibrated"))
    figure.update_xaxes(range=[0, 1])
    figure.update_yaxes(range=[0, 1])
    numbers = chart("confidence of the answer", "faces", height=380)
    numbers.add_trace(Bar(x=middles, y=[part.num for part in bins], width=width, marker_color="#8a96a3"))
    numbers.update_xaxes(range=[0, 1])
    signed = sum((part.confidence - part.accuracy) * part.num for part in bins) / len(y)
    kind = "surer than it is right" if signed > 0 else "less sure than it is right"
    auc = intervals.auc(y, probabilities)
    return Section(
        "Calibration",
        side_by_side([figure, numbers], 380),
        f"Expected calibration error {calibration.ece:.3f}: how far confidence and accuracy are apart, on average; all in all "
        f"the model is {kind}. Bars below the dashed line: too sure. On the right, how many faces have that confidence. "
        f"Area under the ROC curve, one class against the others, averaged: {auc:.3f}.",
    )


def most_certain_mistakes(y: np.ndarray, probabilities: np.ndarray, number: int = NUM_MISTAKES) -> np.ndarray:
    """Rows of the wrong answers that the model is most certain of, most certain first."""
    predicted, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    rows = np.flatnonzero(predicted != y)
    return rows[np.argsort(-certainty[rows], kind="stable")[:number]]


def _mistakes(classes: Sequence[str], y: np.ndarray, probabilities: np.ndarray, task: Task, split: str) -> Section:
    rows, heading = most_certain_mistakes(y, probabilities), "Most certain mistakes"
    if not len(rows):
        return Section(heading, note="The model makes no mistakes here.")
    pictures, sources = task.pictures(split, rows.tolist())
    cells: list[Markup] = []
    for row, face, source in zip(rows, pictures, sources, strict=True):
        predicted = int(probabilities[row].argmax())
        answer = f"{classes[int(y[row])]} → {classes[predicted]}"
        caption = Markup("<b>{}</b> {:.2f}<br>{}").format(answer, float(probabilities[row, predicted]), source)
        picture = image(face, f"{answer}, {source}")
        cells.append(Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(picture, caption))
    num = int((probabilities.argmax(axis=1) != y).sum())
    return Section(
        heading,
        Markup('<div class="pictures">{}</div>').format(Markup().join(cells)),
        f"The {len(rows)} of {num} mistakes on {split} that the model is most certain of: true → predicted, its "
        "probability, and where the face came from. Wrong labels and bad crops show here. These are the dataset's faces: "
        "its terms hold for this page, too.",
    )


def draw_confusion(counts: np.ndarray, classes: list[str]) -> matplotlib.figure.Figure:
    """counts (C, C), rows true classes: each cell shows its count and its share of the true class, which shades it."""
    side = 2.0 + 0.5 * len(classes)
    figure, (axes,) = make_figure(side + 0.3, side, num_axes=1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [figure_text(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(classes)), names, fontsize=8)
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("true", fontsize=8)
    axes.set_title("faces, and share of the true class", fontsize=9)
    for (i, j), share in np.ndenumerate(shares):
        color = "white" if share > 0.5 else "black"
        text = f"{counts[i, j]}\n{share:.2f}" if counts[i].any() else intervals.DASH
        axes.text(j, i, text, ha="center", va="center", color=color, fontsize=8)
    figure.subplots_adjust(left=0.9 / (side + 0.3), right=0.97, top=1 - 0.3 / side, bottom=0.9 / side)
    return figure
