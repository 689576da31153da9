"""Somebody's net in Keras as one that our loop trains: checked.

Shapes: B faces, C classes, F features, H × W pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.keras_training.classifier import build_classifier, restore_classifier
from fersweep.trainables.keras_training.faces import build_faces, restore_faces
from fersweep.trainables.protocol import Trainable
from fersweep.trainables.saved_model import read_model
from fersweep.trainables.short_form.inputs import Pixels
from fersweep.trainables.short_form.net_function import Blaming, NetFunction


def _maker(function: NetFunction, pixels: Pixels | None, names: list[str]) -> Callable[..., Any]:
    """make_model of the loop."""

    def make(hparams: Any, num_inputs: int, num_classes: int, keras: Any) -> Any:
        to_be_trained = function.first
        net = function(hparams, num_inputs, num_classes, names)
        if not isinstance(net, keras.Model):
            raise ValueError(f"{function.file}: net returns a keras.Model, but got {type(net).__name__}")
        shape = (num_inputs, num_inputs, pixels.channels) if pixels else (num_inputs,)
        x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
        with Blaming(function, f"net, given {x.shape}"):
            answer = net(x, training=False)
        _check(net, answer, (len(x), num_classes), function.file)
        if to_be_trained:
            function.warn_of_unread(hparams)
        return net

    return make


def _check(net: Any, answer: Any, shape: tuple[int, int], file: str) -> None:
    """Raises ValueError of one line for a net that does not answer with logits, or does not learn."""
    if not hasattr(answer, "shape") or tuple(answer.shape) != shape:
        got = tuple(answer.shape) if hasattr(answer, "shape") else type(answer).__name__
        raise ValueError(f"{file}: net's model returns logits of shape {shape}, faces × classes, but got {got}")
    if (dtype := np.asarray(answer).dtype) != np.float32:
        raise ValueError(f"{file}: net's model returns logits of float32, but got {dtype}")
    if not net.trainable_variables:
        raise ValueError(f"{file}: net: no weight learns: want trainable variables")
    if wrong := [v.path for v in net.trainable_variables if str(v.dtype) != "float32"]:
        raise ValueError(f"{file}: net: weights are float32, but {wrong[0]} is not")
    values = np.asarray(answer)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{file}: net's model returns NaN or infinity for faces of mean 0 and deviation 1, before any training"
        )
    if (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-4):
        warnings.warn(f"{file}: net seems to return probabilities: leave its softmax out, want logits", stacklevel=2)


def _of_faces(file: str, pixels: Pixels, size: list[int]) -> dict[str, Any]:
    """What KerasFaceClassifier wants to know of its inputs. Raises ValueError for faces that are no squares."""
    if size[0] != size[1]:
        raise ValueError(
            f"{file}: net(image_size) in Keras sees square faces, but the dataset's are {size[0]} × {size[1]}"
        )
    levels = None
    if pixels.mean is not None and pixels.std is not None:
        levels = np.array(pixels.mean, np.float32), np.array(pixels.std, np.float32)
    return {"channels": pixels.channels, "levels": levels}


def build(
    name: str, hparams: Any, arrays: TaskArrays, seed: int, function: NetFunction, pixels: Pixels | None
) -> Trainable:
    make = _maker(function, pixels, arrays.feature_names)
    if pixels is None:
        return build_classifier(name, hparams, arrays, seed, make)
    inputs = _of_faces(function.file, pixels, arrays.preprocessing["image_size"])
    return build_faces(name, hparams, arrays, seed, make, **inputs)


def restore(directory: Path, hparams: type[Any], function: NetFunction, pixels: Pixels | None) -> Trainable:
    model: dict[str, Any] = read_model(directory)
    make = _maker(function, pixels, model["feature_names"])
    if pixels is None:
        return restore_classifier(directory, hparams, make)
    inputs = _of_faces(function.file, pixels, model["preprocessing"]["image_size"])
    return restore_faces(directory, hparams, make, **inputs)
