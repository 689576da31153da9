"""The part of a dataset's page about pixels: where two classes differ in brightness, and the mean face of each class."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from fersweep.common.display.page import Section, beside, sheet, subheading
from fersweep.data_pipeline.describe import charts, pictures, statistics
from fersweep.data_pipeline.describe.rows import DatasetRows
from fersweep.data_pipeline.describe.train_scores import TrainScores

CELLS = (3, 6, 12, 24, 48)  # faces shrunk to so many cells a side
MAX_BRIGHTNESS = 60_000  # faces whose brightness is measured
MAX_BYTES = 2_000_000_000  # of pixels read for it
SEED = 0


class Brightness(NamedTuple):
    grids: dict[int, statistics.BrightnessGrid]
    """By the number of cells a side."""
    means: dict[int, np.ndarray]
    """The mean face (h, w) uint8 of each class that has one, by the class's index."""
    num_faces: int
    """That both are of."""


def section(rows: DatasetRows, scores: TrainScores, faces: bool) -> Section:
    """The section of the page. `faces`: whether mean faces may be shown."""
    heading = "Where the pixels of two classes differ"
    if not rows.has_pixels:
        return Section(heading, note=pictures.NO_PIXELS)
    grids, means, number = brightness_grids(rows, scores)
    html = Markup()
    if faces and means:
        cards = [([place], scores.labels[index]) for place, index in enumerate(means)]
        html = subheading("Mean faces") + sheet(np.stack(list(means.values())), cards, captioned=True, width=96)
    if len(means) > 1:
        html = beside(charts.brightness(grids, scores.labels, list(means)), html)
    drawn = "" if number == len(scores.rows) else f", drawn from {len(scores.rows):,} with seed {SEED}"
    return Section(
        heading,
        html,
        f"Faces shrunk to n×n cells (Lanczos), {number:,} of {scores.split}{drawn}, found by MediaPipe or not. In each cell, the "
        "probability that a face of the second class is brighter there than one of the first: the AUC of its brightness, .5 (white) where "
        "the classes do not differ.",
    )


def brightness_grids(rows: DatasetRows, scores: TrainScores) -> Brightness:
    """Train faces in a grid for each of CELLS that is not finer than their pixels, and on average."""
    assert rows.manifest["image_size"] is not None  # has_pixels
    height, width = rows.manifest["image_size"]
    chosen, limit = scores.rows, max(1, min(MAX_BRIGHTNESS, MAX_BYTES // (height * width)))
    if len(chosen) > limit:
        chosen = np.sort(np.random.default_rng(SEED).choice(chosen, limit, replace=False))
    grids: dict[int, statistics.BrightnessGrid] = {}
    sums: dict[int, Any] = {}
    counts = np.bincount(scores.class_of_rows[chosen], minlength=len(scores.labels))
    for batch, faces in rows.faces(chosen):
        y = scores.class_of_rows[batch]
        side = min(faces.shape[1:])
        for n in [cells for cells in CELLS if cells <= side] or [side]:
            grids.setdefault(n, statistics.BrightnessGrid(n, len(scores.labels))).add(faces, y)
        for index in np.unique(y).tolist():
            sums[index] = sums.get(index, 0) + faces[y == index].sum(axis=0, dtype=np.float64)
    means = {index: np.rint(sums[index] / counts[index]).astype(np.uint8) for index in sorted(sums)}
    return Brightness(grids, means, len(chosen))
