"""A dense network over all pixels of a face: hidden layers, then softmax (PyTorch)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from data_pipeline.task import TaskArrays
from trainables.torch_hparams import TorchHparams

if TYPE_CHECKING:
    from trainables.torch_model import TorchClassifier

FRAMEWORK = "torch"
FEATURES = ("pixels",)


class Hparams(TorchHparams):
    units: tuple[int, ...] = Field((64,), description="units of each hidden layer, the first one first")
    activation: Literal["relu", "gelu", "silu", "elu"] = "relu"
    batch_norm: bool = False
    dropout: float = Field(0.0, ge=0, lt=1, description="after each hidden layer")
    l2: float = Field(0.0, ge=0, description="weight of the sum of squares of all kernels in the loss")


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> TorchClassifier:
    from trainables.cnn_net import PixelMLP
    from trainables.torch_model import build_classifier

    return build_classifier("pixel_mlp", Hparams(**hparams), arrays, seed, PixelMLP)


def restore(directory: Path) -> TorchClassifier:
    from trainables.cnn_net import PixelMLP
    from trainables.torch_model import restore_classifier

    return restore_classifier(directory, Hparams, PixelMLP)
