"""A population of one, for models that train alone (trainables/population.py): `trainables.build` behind the same protocol."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fersweep import trainables
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.metrics import EpochMetrics
from fersweep.trainables.population import Saved
from fersweep.trainables.protocol import TrialFailed


class OneModel:
    """A model of the trainable `name`; one more can follow when it is removed."""

    def __init__(self, name: str, arrays: TaskArrays):
        self._name, self._arrays = name, arrays
        self.members: list[Any] = []

    def add(self, hparams: dict[str, Any], seed: int) -> Any:
        self.members.append(trainables.build(self._name, hparams, self._arrays, seed))
        return self.members[-1]

    def remove(self, members: Collection[Any]) -> None:
        self.members = [model for model in self.members if model not in members]

    def fit(self) -> list[EpochMetrics | TrialFailed]:
        rows: list[EpochMetrics | TrialFailed] = []
        for model in self.members:
            try:
                rows += model.fit(1)
            except TrialFailed as failure:
                rows.append(failure)
        return rows


class Written:
    """The state of a model that has no `snapshot`: a copy on this machine's disk, for as long as somebody holds it."""

    def __init__(self, model: Saved):
        self._directory = Path(tempfile.mkdtemp(prefix="fersweep-"))
        weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        model.save(self._directory)

    def save(self, directory: Path) -> None:
        shutil.copytree(self._directory, directory, dirs_exist_ok=True)
