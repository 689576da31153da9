"""A dense network over all pixels of a face: hidden layers, then softmax (PyTorch)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.torch_training import hparams as training
from fersweep.trainables.torch_training.hparams import TorchHparams

if TYPE_CHECKING:
    from fersweep.trainables.torch_training.classifier import TorchClassifier
    from fersweep.trainables.torch_training.layers import PixelMLP


FRAMEWORK = "torch"
FEATURES = ("pixels",)
LEARNS_PROBABILITIES: dict[str, str] = {}
PERTURBABLE = training.PERTURBABLE | {"dropout", "l2"}


class Hparams(TorchHparams):
    units: tuple[PositiveInt, ...] = Field((64,), description="units of each hidden layer, the first one first")
    activation: Literal["relu", "gelu", "silu", "elu"] = "relu"
    batch_norm: bool = False
    dropout: float = Field(0.0, ge=0, lt=1, description="after each hidden layer")
    l2: float = Field(0.0, ge=0, description="weight of the sum of squares of all kernels in the loss")


def _make_net(h: Hparams, num_classes: int) -> PixelMLP:
    from fersweep.trainables.torch_training.layers import PixelMLP

    return PixelMLP(h.image_size, num_classes, h.units, h.dropout, h.batch_norm, h.activation, h.l2)


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> TorchClassifier:
    from fersweep.trainables.torch_training.classifier import build_classifier

    return build_classifier("pixel_mlp", Hparams(**hparams), arrays, seed, _make_net)


def restore(directory: Path) -> TorchClassifier:
    from fersweep.trainables.torch_training.classifier import restore_classifier

    return restore_classifier(directory, Hparams, _make_net)
