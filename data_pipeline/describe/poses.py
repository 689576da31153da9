"""The parts of a dataset's page made of views and landmarks: the pose of the heads, and the mean shape of each class."""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fersweep.common.display.page import Section, html_table
from fersweep.data_pipeline.dataset import columns
from fersweep.data_pipeline.describe.charts import mean_shapes
from fersweep.data_pipeline.describe.ridges import ANGLES, angle_ridges
from fersweep.data_pipeline.describe.rows import DatasetRows
from fersweep.data_pipeline.describe.statistics import spread_sample
from fersweep.data_pipeline.describe.train_scores import TrainScores
from fersweep.data_pipeline.faces.geometry import normalised
from fersweep.data_pipeline.vocabulary import LABELS

NUM_SHAPES = 800  # faces of a class whose landmarks are averaged
TIMES = 3.0  # how much larger a class's difference from the mean is drawn
# Chains of MediaPipe's face mesh, from its FaceLandmarksConnections: oval, lips (outer, inner), eyes, brows, nose.
LINES = (
    (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136,
     172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10),
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185, 61),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263),
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33),
    (276, 283, 282, 295, 285, 336, 296, 334, 293, 300, 276),
    (46, 53, 52, 65, 55, 107, 66, 105, 63, 70, 46),
    (168, 6, 197, 195, 5, 4, 1, 2),
    (98, 97, 2, 326, 327),
)  # fmt: skip


def sections(rows: DatasetRows, scores: TrainScores) -> list[Section]:
    """Views, pose and shape, each if the dataset has it; an older one has none."""
    candidates = [_views(rows, scores.labels), _pose(rows, scores), _shape(rows, scores)]
    return [section for section in candidates if section is not None]


def _views(rows: DatasetRows, labels: Sequence[str]) -> Section | None:
    originals = np.flatnonzero(rows.is_original)
    table = rows.take(originals, ["num_views", "spread"])
    number = table["num_views"].fill_null(0).to_numpy()
    most = int(number.max(initial=0))
    if most < 2:
        return None
    spread, table_rows = table["spread"].to_numpy(), []
    for label in labels:
        of_label = rows.labels[originals] == LABELS.index(label)
        shares = np.bincount(number[of_label], minlength=most + 1) / max(of_label.sum(), 1)
        spreads = spread[of_label & ~np.isnan(spread)]
        middle = float(np.median(spreads)) if len(spreads) else None
        table_rows.append([label, *(f"{share:.1%}" for share in shares), None if middle is None else round(middle, 4)])
    heads = ["label", *(f"in {views}" for views in range(most + 1)), "spread"]
    return Section(
        "Views",
        html_table(heads, table_rows),
        f"In how many of {most} views of each face MediaPipe saw one, all splits, and how far its scores then differ between views "
        "(root mean square over the scores of their standard deviations; the median face): a small spread is a reliable reading.",
    )


def _pose(rows: DatasetRows, scores: TrainScores) -> Section | None:
    table = rows.take(scores.faces, ANGLES)
    angles = np.stack([table[name].to_numpy() for name in ANGLES], axis=1).astype(np.float32)
    known = ~np.isnan(angles).any(axis=1)
    if not known.any():
        return None
    return Section(
        "How heads are held",
        angle_ridges(angles[known], scores.y[known], scores.labels),
        f"Head pose in each class, {known.sum():,} faces of {scores.split}. Yaw: turned right in the picture is positive; pitch: up; "
        "roll: counter-clockwise. Each class is as high as its peak; ticks: medians. Classes with different poses can be distinguished by more than their expression.",
    )


def _shape(rows: DatasetRows, scores: TrainScores) -> Section | None:
    drawn = spread_sample(scores.y, NUM_SHAPES)
    order = np.argsort(scores.faces[drawn], kind="stable")
    table, y = rows.take(scores.faces[drawn[order]], ["landmarks"])["landmarks"], scores.y[drawn[order]]
    known = np.flatnonzero(table.is_valid().to_numpy())
    if not len(known):
        return None
    points, y = normalised(columns.landmarks(table.take(pa.array(known))))[:, :, :2], y[known]
    present = [index for index in range(len(scores.labels)) if (y == index).any()]
    shapes = np.stack([points[y == index].mean(axis=0, dtype=np.float64) for index in present])
    return Section(
        "The mean face of each class, by its landmarks",
        mean_shapes(shapes, [scores.labels[index] for index in present], LINES, TIMES),
        f"Up to {NUM_SHAPES} faces a class of {scores.split}, centred, levelled and scaled by their eyes. Gray: the mean of the classes; "
        f"in colour, the class, its difference from that mean drawn {TIMES:g} times as large.",
    )
