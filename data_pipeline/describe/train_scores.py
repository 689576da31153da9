"""The blendshapes of a dataset's train faces, and what they say about the class: `TrainScores(rows).information`."""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false

from functools import cached_property

import numpy as np
import pyarrow as pa

from fersweep.data_pipeline.describe import statistics
from fersweep.data_pipeline.describe.rows import DatasetRows
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, LABELS, SPLITS

MAX_FACES = 100_000


class TrainScores:
    """Scores of the train faces as a model would learn from them: found by MediaPipe, without twins in val or test and
    without augmented copies; if there are more than MAX_FACES, as many of them, drawn with a seed.

    Where there is no train, the first split that has faces: `split` says which.
    """

    def __init__(self, rows: DatasetRows):
        self.labels = [label for label in LABELS if label in rows.manifest["classes"]]
        self.split = next((name for name in SPLITS if name in rows.manifest["counts"]), "train")
        usable = (rows.splits == SPLITS.index(self.split)) & rows.is_original & ~rows.is_twin
        self.rows = np.flatnonzero(usable)
        """(M,) rows of the dataset's train faces, detected or not."""
        detected = self.rows[rows.is_detected[self.rows]]
        self.num_all = len(detected)
        if len(detected) > MAX_FACES:
            detected = np.sort(np.random.default_rng(0).choice(detected, MAX_FACES, replace=False))
        self.faces = detected
        """(N,) rows of the dataset that `x` and `y` are of."""
        class_of_label = np.array([self.labels.index(label) if label in self.labels else -1 for label in LABELS])
        self.class_of_rows = class_of_label[rows.labels]
        self.y = self.class_of_rows[detected]
        x = _scores(rows.take(detected, BLENDSHAPES))
        has_score = np.asarray(~np.isnan(x).all(axis=0))  # of no faces: none
        self.names = [name for name, has in zip(BLENDSHAPES, has_score, strict=True) if has]
        self.x = x[:, has_score]
        """(N, F) float32, a column for each of `names`; NaN where a face's source lacks the score."""

    @cached_property
    def information(self) -> np.ndarray:
        """(F,) nats, see statistics.information."""
        return statistics.information(self.x, self.y, len(self.labels))

    @cached_property
    def entropy(self) -> float:
        return statistics.class_entropy(self.y)

    @cached_property
    def dead(self) -> list[str]:
        dead = statistics.dead_scores(self.x)
        return [name for name, is_dead in zip(self.names, dead, strict=True) if is_dead]

    def ranked(self) -> list[int]:
        """Places in `names`, the most informative first."""
        return np.argsort(-self.information, kind="stable").tolist()

    def faces_in_words(self) -> str:
        faces = f"{len(self.y):,} faces of {self.split}"
        drawn = f", drawn from {self.num_all:,}" if self.num_all > len(self.y) else ""
        return f"{faces}{drawn}"


def _scores(table: pa.Table) -> np.ndarray:
    """(N, 52) float32."""
    return np.stack([table[name].to_numpy() for name in BLENDSHAPES], axis=1).astype(np.float32)
