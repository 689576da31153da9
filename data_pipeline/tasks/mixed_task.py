"""The task of an ensemble: what several models see of the same faces, pixels and numbers, in one array.

task = task_of_features(place, spec, ["pixels", "jawOpen", "landmark61x"])
task.load("test").x                    # features.mixed: NaN where MediaPipe found no face
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fersweep.data_pipeline.tasks import features
from fersweep.data_pipeline.tasks.arrays import Arrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task


def task_of_features(place: str | Path, spec: TaskSpec, names: Sequence[str]) -> Task:
    """The faces and classes of `spec`, of which a model is fed the features `names`: to judge it, not to train it.

    Raises InputError as `Task` does, and where the dataset lacks one of them.
    """
    vectors = features.vector_names(names)
    spec = spec.model_copy(update={"features": features.kind(names), "informative": None})
    if vectors and len(vectors) < len(names):
        numbers = spec.model_copy(update={"features": features.kind(vectors)})
        return MixedTask(place, spec, Task(place, numbers, learned=False, feature_names=vectors))
    return Task(place, spec, learned=False, feature_names=names)


class MixedTask(Task):
    """All faces, as pixels and as numbers. `numbers`: the task of those in which MediaPipe found a face."""

    def __init__(self, place: str | Path, spec: TaskSpec, numbers: Task):
        super().__init__(place, spec, learned=False)
        self.feature_names = ["pixels", *numbers.feature_names]
        self._numbers = numbers

    def load(self, split: str) -> Arrays:
        """All faces of `split`; x (N,) is `features.mixed`."""
        faces, rows = super().load(split), self.all_rows(split)
        detected = self.everyone(split)[1]
        vectors = np.full((len(rows), *self._numbers.x_shape), np.nan, np.float32)
        vectors[detected] = self._numbers.vectors(rows[detected])
        return replace(faces, x=features.mixed(faces.x, vectors))
