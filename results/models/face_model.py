"""Any model that answers faces: what it is fed and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.faces.crop import fit
from fersweep.data_pipeline.tasks.features import Features, is_mixed, kind, mixed
from fersweep.data_pipeline.tasks.mixed_task import task_of_features
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.data_pipeline.vocabulary import LABELS

Answer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, as far as that is known: a registered version, the trial of a sweep under the home."""

    version: int | None = None
    sweep: str | None = None
    trial: int | None = None

    def as_json(self) -> dict[str, int | str]:
        """What is known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class FaceModel:
    """A model of faces. Its checkpoint, if it has one, is loaded when it is first asked.

    Attributes:
        name: as people called it.
        described: what is known of it, with the keys of a checkpoint's model.json: always `feature_names`; `classes`,
            `groups` (class → labels), `preprocessing`, `fingerprint` where they are known.
        answer: what predicts, for a model without a checkpoint.
    """

    name: str
    described: dict[str, Any]
    checkpoint: Path | None = None
    answer: Answer | None = None
    origin: Origin = Origin()

    @property
    def classes(self) -> list[str] | None:
        """None: those of the task that it is judged on, in their order."""
        return self.described.get("classes")

    @property
    def features(self) -> Features:
        """What a task of it has as its `features`."""
        return kind(self.described["feature_names"])

    @property
    def groups(self) -> dict[str, list[str]] | None:
        """Class → labels that it stands for. Raises InputError if that is not known."""
        if self.classes is None or self.described.get("groups"):
            return self.described.get("groups")
        for name in self.classes:
            if name not in LABELS:
                raise InputError(f"{self.name}: which labels its class {name!r} stands for is not known to it")
        return {name: [name] for name in self.classes}

    @cached_property
    def loaded(self) -> Any:
        """What fersweep.trainables.restore returns; None for a model without a checkpoint."""
        return trainables.restore(self.checkpoint) if self.checkpoint else None

    def task(self, data: str | Path, groups: dict[str, list[str]] | None) -> Task:
        """The task of judging this model on a dataset: what it sees of the faces of `groups`' labels."""
        return task_of_features(data, TaskSpec(classes=groups), self.described["feature_names"])

    def fitted(self, x: np.ndarray) -> np.ndarray:
        """x as the model was fed: faces (N, H, W) in the size that it learned; vectors as they are."""
        if is_mixed(self.described["feature_names"]):
            return mixed(self._fitted(x["pixels"]), x["features"])
        return self._fitted(x) if self.features == "pixels" else x

    def _fitted(self, x: np.ndarray) -> np.ndarray:
        size = self.described.get("preprocessing", {}).get("image_size")
        if not size or x.shape[1:] == tuple(size):
            return x
        return np.stack([fit(face, (int(size[0]), int(size[1]))) for face in x])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, F) float32 vectors or (N, H, W) uint8 faces → (N, C) probabilities. InputError where they are none."""
        if self.answer is None:
            return np.asarray(self.loaded.predict(x))
        probabilities = np.asarray(self.answer(x), np.float64)
        wanted = f"(N, C) probabilities for {len(x)} faces"
        if probabilities.ndim != 2 or len(probabilities) != len(x):
            raise InputError(f"{self.name}: wanted {wanted}, but it answers with shape {probabilities.shape}")
        real = np.isfinite(probabilities).all() and (probabilities >= -1e-6).all()
        if not real or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
            raise InputError(f"{self.name}: wanted {wanted}, rows of which sum to 1, but it answers with other numbers")
        return probabilities
