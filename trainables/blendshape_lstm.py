"""The blendshape LSTM: stacked LSTM layers over one face's scores, landmarks or both, then softmax (Keras).

A face is one row of F numbers; `layout` says how an LSTM reads it: `features` is one step of F features (the recurrent
kernel has no effect, and an epoch is several times cheaper), `steps` is F steps of one number each.

A video has such a row for each frame. With layout `features` the trained network can read T frames as T steps
(`predict_window`), though it was trained on single frames only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.features import VECTORS
from fersweep.trainables.keras_training import hparams as training
from fersweep.trainables.keras_training.classifier import (
    KerasClassifier,
    build_classifier,
    make_initializer,
    restore_classifier,
)
from fersweep.trainables.keras_training.hparams import KerasHparams
from fersweep.trainables.keras_training.runtime import import_keras
from fersweep.trainables.population import Points, Population

FRAMEWORK = "tensorflow"
FEATURES = VECTORS
LEARNS_PROBABILITIES: dict[str, str] = {}
FUSED_FRAMEWORK, MOST_FUSED = "torch", {"cpu": 8, "gpu": 256}
PERTURBABLE = training.PERTURBABLE | {"recurrent_dropout"}


class Hparams(KerasHparams):
    units: tuple[PositiveInt, ...] = Field(
        (33, 12), min_length=1, description="units of each LSTM layer, the first one first"
    )
    activation: Literal["tanh", "relu", "selu"] = "tanh"
    bidirectional: bool = False
    recurrent_dropout: float = Field(0.0, ge=0, lt=1)
    layout: Literal["features", "steps"] = "features"


def _make_model(h: Hparams, num_features: int, num_classes: int, keras: Any, window: bool = False) -> Any:
    """Logits for (N, F); for (N, T, F) if it reads a `window`."""
    layers = keras.layers
    regularizer = keras.regularizers.L2(h.l2) if h.l2 else None
    if window:
        inputs = hidden = keras.Input((None, num_features))
    else:
        inputs = keras.Input((num_features,))
        hidden = layers.Reshape((1, num_features) if h.layout == "features" else (num_features, 1))(inputs)
    for i, units in enumerate(h.units):
        lstm = layers.LSTM(
            units,
            activation=h.activation,
            dropout=h.dropout,
            recurrent_dropout=h.recurrent_dropout,
            kernel_initializer=make_initializer(h, keras),
            kernel_regularizer=regularizer,
            return_sequences=i < len(h.units) - 1,
            unroll=h.layout == "features" and not window,
        )
        hidden = (layers.Bidirectional(lstm) if h.bidirectional else lstm)(hidden)
    logits = layers.Dense(num_classes, kernel_initializer=make_initializer(h, keras), kernel_regularizer=regularizer)(
        hidden
    )
    return keras.Model(inputs, logits)


class WindowedClassifier(KerasClassifier):
    """An LSTM with layout `features`, which can also read several frames of a face."""

    @functools.cached_property
    def _predict_window(self) -> Callable[[np.ndarray], Any]:
        _, keras = import_keras()
        num_features = len(self.model["feature_names"])
        net = self.make_model(self.hparams, num_features, len(self.model["classes"]), keras, window=True)
        net.set_weights(self.predicting_weights())
        signature = [self._tf.TensorSpec((None, None, num_features), self._tf.float32)]

        def probabilities(x: Any) -> Any:
            return self._tf.nn.softmax(net(x, training=False))

        return self._tf.function(probabilities, input_signature=signature)

    def predict_window(self, x: np.ndarray) -> np.ndarray:
        """(N, T, F) features of T frames of a face, the latest one last → (N, C) probabilities after the last one.

        The weights are those that `predict` had when this was first called. They were trained on T = 1, for which both
        give the same. With one step the recurrent weights and the forget gate get no gradient and are as they were
        initialised: for T > 1 the answer depends on earlier frames, but how much was never learned.
        """
        return self._predict_window(self._prepared(x)).numpy()


def _kind(h: KerasHparams) -> type[KerasClassifier]:
    return WindowedClassifier if getattr(h, "layout", "") == "features" else KerasClassifier


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> KerasClassifier:
    return build_classifier("blendshape_lstm", Hparams(**hparams), arrays, seed, _make_model, _kind)


def restore(directory: Path) -> KerasClassifier:
    return restore_classifier(directory, Hparams, _make_model, _kind)


def build_fused(points: Points, arrays: TaskArrays) -> Population:
    from fersweep.trainables.fused_training.lstm_net import LSTMNet
    from fersweep.trainables.fused_training.population import VectorPopulation

    return VectorPopulation("blendshape_lstm", Hparams, LSTMNet, points, arrays)


def member_bytes(hparams: dict[str, Any], arrays: TaskArrays) -> int:
    from fersweep.trainables.fused_training.lstm_net import LSTMNet
    from fersweep.trainables.fused_training.population import net_bytes

    return net_bytes(LSTMNet, Hparams(**hparams), arrays)
