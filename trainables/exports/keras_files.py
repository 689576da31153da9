"""Exports of nets in Keras: .keras, .tflite (TensorFlow's converter) and .onnx (keras_onnx.py).

Each file maps features (N, F) float32, raw scores and coordinates, or gray faces (N, H, W) uint8 to probabilities (N, C):
transform, standardisation and softmax are part of it, the weights are the averaged ones where training kept an average. The
input is called `blendshapes` if all features are, else `features`, or `faces`.
"""

# Parts of onnx and ai_edge_litert have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.processes import num_threads, silent_stderr
from fersweep.trainables.exports import keras_onnx
from fersweep.trainables.exports.card import fitting, of_file, read_card, write_card
from fersweep.trainables.keras_training.classifier import KerasClassifier
from fersweep.trainables.keras_training.faces import KerasFaceClassifier
from fersweep.trainables.keras_training.runtime import import_keras
from fersweep.trainables.vectors import LOGIT_CLIP, Preparation


def write(classifier: KerasClassifier, path: Path) -> None:
    """Write the classifier to `path`; its suffix is the format."""
    {".keras": _write_keras, ".tflite": _write_litert, ".onnx": keras_onnx.write}[path.suffix](classifier, path)


def _whole(classifier: KerasClassifier, net: Any) -> Any:
    """Keras model from features or faces to probabilities. Its steps before the net are Keras's own: it loads anywhere."""
    _, keras = import_keras()
    x = inputs = keras.Input(classifier.input_shape, dtype=classifier.input_dtype, name=classifier.input_name)
    x = classifier.seen(x) if isinstance(classifier, KerasFaceClassifier) else _prepared(classifier.preparation, x)
    return keras.Model(inputs, keras.layers.Softmax(name="probabilities")(net(x)))


def _prepared(preparation: Preparation, x: Any) -> Any:
    _, keras = import_keras()
    ops, scored = keras.ops, preparation.scored
    if preparation.takes_logits:
        clipped = ops.clip(x, *LOGIT_CLIP)
        logits = ops.log(clipped / (1 - clipped))
        x = logits if scored.all() else x + (logits - x) * scored.astype(np.float32)
    if preparation.standardises:
        variance = preparation.scale.astype(np.float64) ** 2
        x = keras.layers.Normalization(mean=preparation.shift, variance=variance)(x)
    return x


def _write_keras(classifier: KerasClassifier, path: Path) -> None:
    whole = _whole(classifier, classifier.trained_net())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras's, of NumPy 2
        whole.save(path)
    write_card(path, classifier.card)


class KerasFile:
    """A .keras file. It needs no code of ours: `keras.saving.load_model(path)`, in safe mode, gives the same."""

    def __init__(self, path: Path):
        self.model = read_card(path)
        _, keras = import_keras()
        self.path = path
        with of_file(path):
            self._net = keras.saving.load_model(path, compile=False, safe_mode=True)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """As the model that was exported; no rows give no rows."""
        with of_file(self.path):
            return np.asarray(self._net(fitting(x, self.model), training=False))


def _write_litert(classifier: KerasClassifier, path: Path) -> None:
    tf, _ = import_keras()
    net = classifier.trained_net()
    for layer in net._flatten_layers():
        if hasattr(layer, "unroll"):  # a loop over steps would need TensorFlow's own operators
            layer.unroll = True
        for rate in ("dropout", "recurrent_dropout"):  # whose seeds an LSTM moves on even where it only predicts
            if isinstance(vars(layer).get(rate), float):
                setattr(layer, rate, 0.0)
    whole = _whole(classifier, net)

    signature = tf.TensorSpec((None, *classifier.input_shape), classifier.input_dtype, name=classifier.input_name)

    @tf.function(input_signature=[signature])
    def probabilities(x: Any) -> Any:
        return whole(x, training=False)

    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with silent_stderr():
            # Without the object that owns the weights they become constants, which LiteRT computes best with.
            converter = tf.lite.TFLiteConverter.from_concrete_functions([probabilities.get_concrete_function()])
            path.write_bytes(converter.convert())
    finally:
        logger.setLevel(level)
    content = path.read_bytes()
    write_card(path, classifier.card | {"content": {"num_bytes": len(content), "sha256": _sha256(content)}})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class LiteRTModel:
    """A .tflite file in LiteRT's interpreter, whose C++ may crash where the file is not as it was written: that is checked first.

    Files of older versions have no checksum.
    """

    def __init__(self, path: Path):
        from ai_edge_litert.interpreter import Interpreter

        self.path, self.model = path, read_card(path)
        with of_file(path), silent_stderr():
            written = self.model.pop("content", None)
            if written and _sha256(path.read_bytes()[: written["num_bytes"]]) != written["sha256"]:
                raise InputError(f"{path}: is damaged, or was changed: it is not what `fersweep export` wrote")
            self._interpreter = Interpreter(model_path=str(path), num_threads=num_threads())
            self._interpreter.allocate_tensors()
            self._input, self._output = (
                details[0]["index"]
                for details in (self._interpreter.get_input_details(), self._interpreter.get_output_details())
            )
        self._num_rows = 1

    def predict(self, x: np.ndarray) -> np.ndarray:
        """As the model that was exported; no rows give no rows."""
        x, run = fitting(x, self.model), self._interpreter
        if len(x) == 0:
            return np.zeros((0, len(self.model["classes"])), np.float32)
        with of_file(self.path):
            if len(x) != self._num_rows:
                run.resize_tensor_input(self._input, x.shape)
                run.allocate_tensors()
                self._num_rows = len(x)
            run.set_tensor(self._input, x)
            run.invoke()
            return run.get_tensor(self._output)
