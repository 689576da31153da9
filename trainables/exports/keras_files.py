"""Exports of blendshape nets: .keras, .tflite (TensorFlow's converter) and .onnx (written here, layer by layer).

Each file maps features (N, F) float32, raw scores and coordinates, to probabilities (N, C): transform, standardisation and
softmax are part of it, the weights are the averaged ones where training kept an average. The input is called
`blendshapes` if all features are, else `features`.

ONNX is written by hand, since tf2onnx 1.17 cannot translate Keras's GELU and these nets have few kinds of layers.
"""

# Parts of onnx and ai_edge_litert have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.processes import num_threads, silent_stderr
from fersweep.trainables.exports.card import fitting, of_file, read_card, write_card
from fersweep.trainables.keras_training.classifier import LOGIT_CLIP, KerasClassifier
from fersweep.trainables.keras_training.runtime import import_keras

OPSET = 20  # the first with Gelu
IR_VERSION = 10


def write(classifier: KerasClassifier, path: Path) -> None:
    """Write the classifier to `path`; its suffix is the format."""
    {".keras": _write_keras, ".tflite": _write_litert, ".onnx": _write_onnx}[path.suffix](classifier, path)


def _input_name(classifier: KerasClassifier) -> str:
    return "blendshapes" if classifier.scored.all() else "features"


def _net(classifier: KerasClassifier, dropout: bool) -> Any:
    """A copy of the net with the weights that it predicts with; without `dropout` free of random state, too."""
    _, keras = import_keras()
    h, model = classifier.hparams, classifier.model
    if not dropout:
        rates = {name: 0.0 for name in ("dropout", "recurrent_dropout") if name in type(h).model_fields}
        h = h.model_copy(update=rates)
    copy = classifier.make_model(h, len(model["feature_names"]), len(model["classes"]), keras)
    for weight, value in zip(copy.weights, classifier.predicting_weights(), strict=True):
        weight.assign(value)
    return copy


def _whole(classifier: KerasClassifier, net: Any) -> Any:
    """Keras model from features to probabilities. Its steps before the net are Keras's own: it loads anywhere."""
    _, keras = import_keras()
    ops, scored = keras.ops, classifier.scored
    x = inputs = keras.Input((len(scored),), name=_input_name(classifier))
    if classifier.hparams.transform == "logit" and scored.any():
        clipped = ops.clip(x, *LOGIT_CLIP)
        logits = ops.log(clipped / (1 - clipped))
        x = logits if scored.all() else x + (logits - x) * scored.astype(np.float32)
    if _standardises(classifier):
        x = keras.layers.Normalization(mean=classifier.shift, variance=classifier.scale.astype(np.float64) ** 2)(x)
    return keras.Model(inputs, keras.layers.Softmax(name="probabilities")(net(x)))


def _standardises(classifier: KerasClassifier) -> bool:
    return bool((classifier.shift != 0).any() or (classifier.scale != 1).any())


def _write_keras(classifier: KerasClassifier, path: Path) -> None:
    whole = _whole(classifier, _net(classifier, dropout=True))
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
    net = _net(classifier, dropout=False)
    for layer in net.layers:  # a loop over steps would need TensorFlow's own operators
        for part in (layer, getattr(layer, "forward_layer", layer), getattr(layer, "backward_layer", layer)):
            if hasattr(part, "unroll"):
                part.unroll = True
    whole = _whole(classifier, net)

    signature = tf.TensorSpec((None, len(classifier.scored)), tf.float32, name=_input_name(classifier))

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


def _write_onnx(classifier: KerasClassifier, path: Path) -> None:
    from onnx import TensorProto, checker, helper, save_model

    graph, h, model = _Graph(), classifier.hparams, classifier.model
    x = input_name = _input_name(classifier)
    if h.transform == "logit" and classifier.scored.any():
        x = graph.add("Clip", x, *(graph.constant(bound) for bound in LOGIT_CLIP))
        x = graph.add("Log", graph.add("Div", x, graph.add("Sub", graph.constant(1.0), x)))
        if not classifier.scored.all():
            x = graph.add("Where", graph.constant(classifier.scored, bool), x, input_name)
    if _standardises(classifier):
        x = graph.add("Sub", x, graph.constant(classifier.shift))
        x = graph.add("Div", x, graph.constant(classifier.scale))
    for layer in _net(classifier, dropout=False).layers:
        x = graph.layer(layer, x)
    graph.add("Softmax", x, axis=-1, to="probabilities")
    floats = TensorProto.FLOAT
    onnx_graph = helper.make_graph(
        graph.nodes,
        "fersweep",
        [helper.make_tensor_value_info(input_name, floats, ["N", len(model["feature_names"])])],
        [helper.make_tensor_value_info("probabilities", floats, ["N", len(model["classes"])])],
        graph.constants,
    )
    whole = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(whole, {key: json.dumps(value) for key, value in classifier.card.items()})
    checker.check_model(whole, full_check=True)
    save_model(whole, path)


class _Graph:
    """ONNX nodes of a graph that is being written. Methods take and return names of values."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, to: str = "", outputs: int = 1, **attributes: Any) -> str:
        """One node; its only output, or the stem of the names of its `outputs`."""
        from onnx import helper

        name = to or f"v{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return name

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def layer(self, layer: Any, x: str) -> str:
        """A Keras layer of one input and one output."""
        kind = type(layer).__name__
        if kind == "InputLayer":
            return x
        if kind == "Reshape":
            return self.add("Reshape", x, self.constant([-1, *layer.target_shape], np.int64))
        if kind == "Dense":
            kernel, bias = (self.constant(weight) for weight in layer.get_weights())
            return self._activated(self.add("Gemm", x, kernel, bias), layer)
        if kind == "BatchNormalization":
            gamma, beta, mean, variance = layer.get_weights()
            scale = gamma / np.sqrt(variance + layer.epsilon)
            return self.add("Add", self.add("Mul", x, self.constant(scale)), self.constant(beta - mean * scale))
        if kind == "Activation":
            return self._activated(x, layer)
        if kind == "LSTM":
            return self._lstm(layer, x, layer.input.shape[1])
        if kind == "Bidirectional":
            num_steps = layer.input.shape[1]
            parts = [self._lstm(part, x, num_steps) for part in (layer.forward_layer, layer.backward_layer)]
            return self.add("Concat", *parts, axis=-1)
        raise NotImplementedError(f"no ONNX is written for Keras's {kind}")

    def _activated(self, x: str, layer: Any) -> str:
        name = layer.activation.__name__
        operator = {"relu": "Relu", "tanh": "Tanh", "selu": "Selu", "gelu": "Gelu", "linear": ""}[name]
        return self.add(operator, x) if operator else x

    def _lstm(self, layer: Any, x: str, num_steps: int) -> str:
        """(N, T, F) → (N, units), or (N, T, units) where the layer returns all steps: unrolled, since ONNX's own LSTM
        has no SELU, and most of our nets have one step, in which nothing is recurrent.
        """
        kernel, recurrent_kernel, bias = layer.get_weights()
        recurrent = self.constant(recurrent_kernel) if num_steps > 1 else ""
        gates = self.add("Add", self.add("MatMul", x, self.constant(kernel)), self.constant(bias))
        hidden, cell = "", ""
        outputs: list[str] = []
        for step in reversed(range(num_steps)) if layer.go_backwards else range(num_steps):
            step_gates = self.add("Gather", gates, self.constant(step, np.int64), axis=1)
            if hidden:
                step_gates = self.add("Add", step_gates, self.add("MatMul", hidden, recurrent))
            parts = self.add("Split", step_gates, outputs=4, axis=-1, num_outputs=4)
            input_gate, forget_gate, _, output_gate = (f"{parts}_{i}" for i in range(4))
            new = self.add("Mul", self.add("Sigmoid", input_gate), self._activated(f"{parts}_2", layer))
            cell = self.add("Add", self.add("Mul", self.add("Sigmoid", forget_gate), cell), new) if cell else new
            hidden = self.add("Mul", self.add("Sigmoid", output_gate), self._activated(cell, layer))
            outputs.append(hidden)
        if not layer.return_sequences:
            return hidden
        axis = self.constant([1], np.int64)
        outputs = outputs[::-1] if layer.go_backwards else outputs
        return self.add("Concat", *(self.add("Unsqueeze", output, axis) for output in outputs), axis=1)


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
