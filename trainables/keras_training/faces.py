"""Trains a Keras classifier on faces' pixels, in the size that the dataset has them: for nets of one's own.

All faces are in the graph as bytes. Nothing changes them but the net's own layers.

Shapes: N faces, B faces of a batch, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.keras_training.classifier import KerasClassifier, restore_classifier
from fersweep.trainables.keras_training.hparams import TrainingHparams
from fersweep.trainables.keras_training.runtime import import_keras
from fersweep.trainables.saved_model import describe_model


class KerasFaceClassifier(KerasClassifier):
    """One Keras model of pixels in training. `make_model(hparams, side, num_classes, keras)` gives logits for (N, H, W,
    channels) float32; `side`: H.

    levels: `mean` and `std` (channels,), the gray levels (0 to 255) that the net wants to be normalised with; None: those
    of train.
    """

    predict_batch = 512

    def __init__(self, *args: Any, channels: int, levels: tuple[np.ndarray, np.ndarray] | None):
        self._channels, self._levels = channels, levels
        super().__init__(*args)

    def _set_inputs(self) -> None:
        self.input_shape, self.input_dtype = tuple(self.model["preprocessing"]["image_size"]), "uint8"
        self.input_name = "faces"
        of_train = [np.repeat(self.statistics[name], self._channels) for name in ("mean", "std")]
        self.mean, self.std = (np.asarray(value, np.float32) for value in self._levels or of_train)

    def _prepared(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x, np.uint8)

    def seen(self, x: Any) -> Any:
        _, keras = import_keras()
        return (keras.ops.expand_dims(keras.ops.cast(x, "float32"), -1) - self.mean) / self.std


def build_faces(
    name: str, hparams: TrainingHparams, arrays: TaskArrays, seed: int, make_model: Callable[..., Any], **inputs: Any
) -> KerasFaceClassifier:
    """A fresh classifier with its training data attached. inputs: `channels` and `levels` of KerasFaceClassifier."""
    described, statistics = describe_model(name, hparams, arrays, seed), {"mean": arrays.mean, "std": arrays.std}
    classifier = KerasFaceClassifier(hparams, described, statistics, make_model, **inputs)
    classifier.attach(arrays)
    return classifier


def restore_faces(
    directory: Path, hparams_type: Callable[..., Any], make_model: Callable[..., Any], **inputs: Any
) -> KerasClassifier:
    """A classifier that can predict, from a checkpoint alone."""
    return restore_classifier(directory, hparams_type, make_model, lambda _: partial(KerasFaceClassifier, **inputs))
