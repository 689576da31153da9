"""Trains a PyTorch classifier on blendshapes, landmarks or both (loop.py).

Shapes: N faces, B faces of a batch, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.torch_training.hparams import VectorHparams
from fersweep.trainables.torch_training.layers import FaceNet
from fersweep.trainables.torch_training.loop import TorchLoop
from fersweep.trainables.vectors import Preparation, train_statistics

PREDICT_ROWS = 2048  # of a batch that is predicted

MakeVectorNet = Callable[[Any, Sequence[str], int], FaceNet]


class VectorClassifier(TorchLoop):
    """One net of features in training. `make_net(hparams, feature_names, num_classes)` gives it; `statistics`: mean and
    std (F,) of train's transformed features.
    """

    hparams: VectorHparams
    smaller = "batch_size (auto finds one that fits)"

    def _made(self, make_net: MakeVectorNet) -> FaceNet:
        names, h = self.model["feature_names"], self.hparams
        self.preparation = Preparation(names, self.statistics, h.transform, h.standardise)
        return make_net(h, names, len(self.model["classes"]))

    def _rows(self, x: np.ndarray) -> Tensor:
        """(N, F) → (N, F) float32, prepared."""
        return torch.from_numpy(np.ascontiguousarray(self.preparation(x), np.float32))

    def _example(self, num: int) -> Tensor:
        return torch.zeros(num, len(self.model["feature_names"]), device=self.device)

    @property
    def _most_rows(self) -> int:
        return PREDICT_ROWS

    def _batch(self, rows: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return self._to_device(rows), targets

    def _seen(self, rows: Tensor) -> Tensor:
        return self._to_device(rows)


def build_vectors(
    name: str, hparams: VectorHparams, arrays: TaskArrays, seed: int, make_net: MakeVectorNet
) -> VectorClassifier:
    """A fresh classifier with its training data attached."""
    statistics = train_statistics(arrays.train.x, arrays.feature_names, hparams.transform)
    return VectorClassifier.build(name, hparams, arrays, seed, make_net, statistics)


def restore_vectors(directory: Path, hparams_type: type[VectorHparams], make_net: MakeVectorNet) -> VectorClassifier:
    """A classifier that can predict, from a checkpoint alone."""
    return VectorClassifier.restore(directory, hparams_type, make_net)
