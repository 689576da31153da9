"""The blendshape LSTM: stacked LSTM layers over one face's scores, then softmax (Keras).

A face is one row of F scores; `layout` says how an LSTM reads it: `features` is one step of F features (the recurrent
kernel stays idle, an epoch is several times cheaper), `steps` is F steps of one score each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from data_pipeline.task import TaskArrays
from trainables.keras_model import KerasClassifier, KerasHparams, build_classifier, make_initializer, restore_classifier

FRAMEWORK = "tensorflow"
FEATURES = "blendshapes"


class Hparams(KerasHparams):
    units: tuple[int, ...] = Field((33, 12), min_length=1, description="units of each LSTM layer, the first one first")
    activation: Literal["tanh", "relu", "selu"] = "tanh"
    bidirectional: bool = False
    recurrent_dropout: float = Field(0.0, ge=0, lt=1)
    layout: Literal["features", "steps"] = "features"


def _make_model(h: Hparams, num_features: int, num_classes: int, keras: Any) -> Any:
    layers = keras.layers
    regularizer = keras.regularizers.L2(h.l2) if h.l2 else None
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
            unroll=h.layout == "features",
        )
        hidden = (layers.Bidirectional(lstm) if h.bidirectional else lstm)(hidden)
    logits = layers.Dense(num_classes, kernel_initializer=make_initializer(h, keras), kernel_regularizer=regularizer)(
        hidden
    )
    return keras.Model(inputs, logits)


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> KerasClassifier:
    return build_classifier("blendshape_lstm", Hparams(**hparams), arrays, seed, _make_model)


def restore(directory: Path) -> KerasClassifier:
    return restore_classifier(directory, Hparams, _make_model)
