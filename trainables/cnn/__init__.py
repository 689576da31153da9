"""A family of convolutional nets over pixels: stages that halve the map, then a head (PyTorch).

A stage is one or more convolutions of one width, optionally with batch normalisation, a residual path and attention, then
pooling and dropout. The nets of two earlier projects are points of this family: search_spaces/cnn.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.cnn.hparams import Hparams
from fersweep.trainables.torch_training import hparams as training

if TYPE_CHECKING:
    from fersweep.trainables.torch_training.classifier import TorchClassifier


FRAMEWORK = "torch"
FEATURES = ("pixels",)
LEARNS_PROBABILITIES: dict[str, str] = {}
PERTURBABLE = training.PERTURBABLE | training.OF_A_HEAD | {"conv_dropout"}


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> TorchClassifier:
    from fersweep.trainables.cnn.net import CNN
    from fersweep.trainables.torch_training.classifier import build_classifier

    return build_classifier("cnn", Hparams(**hparams), arrays, seed, CNN)


def restore(directory: Path) -> TorchClassifier:
    from fersweep.trainables.cnn.net import CNN
    from fersweep.trainables.torch_training.classifier import restore_classifier

    return restore_classifier(directory, Hparams, CNN)
