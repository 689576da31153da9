"""A dense network over one face's blendshapes, landmarks or both: hidden layers with optional batch normalisation, then softmax (Keras)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.features import VECTORS
from fersweep.trainables.keras_training.classifier import (
    KerasClassifier,
    build_classifier,
    make_initializer,
    restore_classifier,
)
from fersweep.trainables.keras_training.hparams import PERTURBABLE, KerasHparams
from fersweep.trainables.population import Points, Population

FRAMEWORK = "tensorflow"
FEATURES = VECTORS
LEARNS_PROBABILITIES: dict[str, str] = {}
FUSED_FRAMEWORK, MOST_FUSED = "torch", {"cpu": 8, "gpu": 256}
__all__ = ["FEATURES", "FRAMEWORK", "PERTURBABLE", "Hparams", "build", "build_fused", "member_bytes", "restore"]


class Hparams(KerasHparams):
    units: tuple[PositiveInt, ...] = Field(
        (64, 32), min_length=1, description="units of each hidden layer, the first one first"
    )
    activation: Literal["relu", "tanh", "selu", "gelu"] = "relu"
    batch_norm: bool = False


def _make_model(h: Hparams, num_features: int, num_classes: int, keras: Any) -> Any:
    layers = keras.layers
    regularizer = keras.regularizers.L2(h.l2) if h.l2 else None
    hidden = inputs = keras.Input((num_features,))
    for units in h.units:
        hidden = layers.Dense(units, kernel_initializer=make_initializer(h, keras), kernel_regularizer=regularizer)(
            hidden
        )
        if h.batch_norm:
            hidden = layers.BatchNormalization()(hidden)
        hidden = layers.Activation(h.activation)(hidden)
        if h.dropout:
            hidden = layers.Dropout(h.dropout)(hidden)
    logits = layers.Dense(num_classes, kernel_initializer=make_initializer(h, keras), kernel_regularizer=regularizer)(
        hidden
    )
    return keras.Model(inputs, logits)


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> KerasClassifier:
    return build_classifier("blendshape_dense", Hparams(**hparams), arrays, seed, _make_model)


def restore(directory: Path) -> KerasClassifier:
    return restore_classifier(directory, Hparams, _make_model)


def build_fused(points: Points, arrays: TaskArrays) -> Population:
    from fersweep.trainables.fused_training.dense_net import DenseNet
    from fersweep.trainables.fused_training.population import VectorPopulation

    return VectorPopulation("blendshape_dense", Hparams, DenseNet, points, arrays)


def member_bytes(hparams: dict[str, Any], arrays: TaskArrays) -> int:
    from fersweep.trainables.fused_training.dense_net import DenseNet
    from fersweep.trainables.fused_training.population import net_bytes

    return net_bytes(DenseNet, Hparams(**hparams), arrays)
