"""What a net looks at, as pictures: the feature maps of its layers, and Grad-CAM. Of faces of val alone, never of test.

    draw_explanations(fersweep.trainables.restore(checkpoint), task, Path("explained"))

A picture is one pair of axes in which images are placed: a pair for each image would take seconds to draw.
"""

# Parts of matplotlib have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fersweep.common.display.charts import figure_text, make_figure
from fersweep.data_pipeline.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


NUM_MAPS = 16
GAP = 0.08  # between two images, as a share of their side
GRAY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
HEAT = 0.6  # how much of the gray face its hottest place hides


class Look(NamedTuple):
    """A model's answer to a face (H, W) uint8. certainty: the answer's probability."""

    face: np.ndarray
    true: str
    predicted: str
    certainty: float

    @property
    def right(self) -> bool:
        return self.true == self.predicted


def draw_explanations(model: Any, task: Task, directory: Path) -> list[Path]:
    """Write `feature_maps.png` and `grad_cam.png` into `directory`, made if need be, and return their paths.

    [] for a model that is no net, or a net without convolutions.
    """
    if not hasattr(model, "feature_maps"):
        return []
    val = task.load("val")
    probabilities = np.asarray(model.predict(val.x))
    rows, predicted = most_certain(val.y, probabilities), probabilities.argmax(axis=1)
    looks = [
        Look(val.x[i], task.classes[val.y[i]], task.classes[predicted[i]], float(probabilities[i].max())) for i in rows
    ]
    figures: dict[str, Figure] = {}
    clearest = max(looks, key=lambda look: (look.right, look.certainty))
    if layers := model.feature_maps(clearest.face, NUM_MAPS):
        figures["feature_maps"] = draw_feature_maps(clearest, layers)
    try:
        heat = model.grad_cam(val.x[rows], predicted[rows])
    except ValueError:  # no layer that it could be taken at
        heat = None
    if heat is not None:
        figures["grad_cam"] = draw_grad_cam(looks, heat, task.classes)
    for name, figure in figures.items():
        directory.mkdir(parents=True, exist_ok=True)
        figure.savefig(directory / f"{name}.png")
    return [directory / f"{name}.png" for name in figures]


def most_certain(y: np.ndarray, probabilities: np.ndarray) -> list[int]:
    """Rows of probabilities (N, C) that the model is most certain of: of each class of y (N,) the one that it is right
    about and the one that it is wrong about, where there are such.
    """
    predicted, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    groups = [(y == i) & ((predicted == y) == right) for right in (True, False) for i in range(probabilities.shape[1])]
    return [int(np.where(group, certainty, -1).argmax()) for group in groups if group.any()]


def draw_feature_maps(look: Look, layers: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """The face, then a row for each layer (name, maps (n, h, w)) with its maps."""
    label, head = 2.0, 2.5  # units: to the left of the maps, and above them
    axes = _canvas(label + NUM_MAPS * (1 + GAP), head + len(layers) * (1 + GAP), inches=0.6)
    _place(axes, look.face, label, 0.1, side=head - 0.3, **GRAY)
    answer = f"{'rightly' if look.right else 'wrongly'} predicted {look.predicted}: {look.certainty:.2f}"
    maps_are = (
        f"the first {NUM_MAPS} feature maps of each layer, each from its lowest value (dark) to its highest (bright)"
    )
    text = f"A {look.true} face of val, {answer}\nBelow: {maps_are}"
    axes.text(label + head, head / 2, text, va="center", fontsize=9, linespacing=1.8)
    for i, (name, maps) in enumerate(layers):
        top = head + i * (1 + GAP)
        height, width = maps.shape[1:]
        axes.text(label - 0.15, top + 0.5, f"{name}\n{height} × {width}", ha="right", va="center", fontsize=8)
        for j, image in enumerate(maps):
            _place(axes, image, label + j * (1 + GAP), top)
    return axes.figure  # type: ignore[return-value]


def draw_grad_cam(looks: Sequence[Look], heat: np.ndarray, classes: Sequence[str]) -> Figure:
    """Each look and below it its heat (N, H, W) in [0, 1]: a column for each true class, the right ones above."""
    label, head, column, block = 0.7, 1.0, 1 + 2 * GAP, 2.75  # units
    axes = _canvas(label + max(3, len(classes)) * column, head + 2 * block - 0.6, inches=1.15)
    title = "Grad-CAM: where faces of val show the class that is predicted;"
    axes.text(0.1, 0.27, f"{title}\nof each class those that the model is most certain of", va="center", fontsize=9)
    places = {(look.true, look.right): (look, warmth) for look, warmth in zip(looks, heat, strict=True)}
    for row, right in enumerate((True, False)):
        top = head + row * block
        axes.text(0.1, top + 1 + GAP / 2, "right" if right else "wrong", va="center", fontsize=10)
        for i, true in enumerate(classes):
            left, name = label + i * column, figure_text(true)
            text = f"{name}\nnone"
            if (true, right) in places:
                look, warmth = places[true, right]
                predicted = name if right else f"{name} → {figure_text(look.predicted)}"
                text = f"{predicted}\n{look.certainty:.2f}"
                _place(axes, look.face, left, top, **GRAY)
                _place(axes, _heated(look.face, warmth), left, top + 1 + GAP)
            axes.text(left + 0.5, top - 0.05, text, ha="center", va="bottom", fontsize=8)
    return axes.figure  # type: ignore[return-value]


def _canvas(width: float, height: float, inches: float) -> Axes:
    """Axes that fill a figure of width × height units of so many inches and a margin, (0, 0) at the upper left."""
    margin = 0.15
    _, (axes,) = make_figure((width + margin) * inches, (height + margin) * inches, num_axes=1)
    axes.set_position((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width + margin)
    axes.set_ylim(height + margin, 0)
    axes.set_autoscale_on(False)
    return axes


def _place(axes: Axes, image: np.ndarray, left: float, top: float, side: float = 1, **how: Any) -> None:
    """Draw an image, (h, w) or (h, w, 3), as a square."""
    axes.imshow(image, extent=(left, left + side, top + side, top), aspect="auto", **how)


def _heated(face: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: the gray face, which colours cover the more the hotter they are."""
    from matplotlib import colormaps

    cover = HEAT * heat[..., None]
    mixed = (1 - cover) * face[..., None] + cover * 255 * colormaps["jet"](heat)[..., :3]
    return mixed.round().astype(np.uint8)
