"""Writes a net in Keras as ONNX, layer by layer: tf2onnx 1.17 cannot translate Keras's GELU and dropout.

Nets of Keras's common layers, joined in any way, can be written; another layer is refused by name. Keras has the channels
last and ONNX first: around a convolution or pooling they change places, which onnxruntime cancels where two follow each other.
"""

# onnx has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.trainables.exports.keras_layers import LAYERS, Graph, refusal
from fersweep.trainables.keras_training.classifier import KerasClassifier
from fersweep.trainables.keras_training.faces import KerasFaceClassifier
from fersweep.trainables.keras_training.runtime import import_keras
from fersweep.trainables.vectors import LOGIT_CLIP, Preparation

OPSET = 20  # the first with Gelu
IR_VERSION = 10


def write(classifier: KerasClassifier, path: Path) -> None:
    """Write the classifier to `path`. Raises InputError for a layer of which no ONNX is written."""
    from onnx import TensorProto, checker, helper, save_model

    graph, name = Graph(), classifier.input_name
    if isinstance(classifier, KerasFaceClassifier):
        x = graph.add("Unsqueeze", graph.add("Cast", name, to_type=TensorProto.FLOAT), graph.constant([3], np.int64))
        x = graph.add("Div", graph.add("Sub", x, graph.constant(classifier.mean)), graph.constant(classifier.std))
    else:
        x = _prepared(graph, classifier.preparation, name)
    graph.add("Softmax", _net(graph, classifier.trained_net(), [x]), axis=-1, to="probabilities")
    kinds = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
    shape = ["N", *classifier.input_shape]
    onnx_graph = helper.make_graph(
        graph.nodes,
        "fersweep",
        [helper.make_tensor_value_info(name, kinds[classifier.input_dtype], shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classifier.model["classes"])])],
        graph.constants,
    )
    whole = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(whole, {key: json.dumps(value) for key, value in classifier.card.items()})
    checker.check_model(whole, full_check=True)
    save_model(whole, path)


def _prepared(graph: Graph, preparation: Preparation, name: str) -> str:
    x = name
    if preparation.takes_logits:
        x = graph.add("Clip", x, *(graph.constant(bound) for bound in LOGIT_CLIP))
        x = graph.add("Log", graph.add("Div", x, graph.add("Sub", graph.constant(1.0), x)))
        if not preparation.scored.all():
            x = graph.add("Where", graph.constant(preparation.scored, bool), x, name)
    if preparation.standardises:
        x = graph.add("Sub", x, graph.constant(preparation.shift))
        x = graph.add("Div", x, graph.constant(preparation.scale))
    return x


def _net(graph: Graph, net: Any, inputs: Sequence[str]) -> str:
    """A Sequential or functional model of one output, also one that is a layer of another."""
    _, keras = import_keras()
    if isinstance(net, keras.Sequential):
        net = net._functional
    if not hasattr(net, "_nodes_by_depth"):
        raise refusal(net)
    values = dict(zip(map(id, net.inputs), inputs, strict=True))
    for depth in sorted(net._nodes_by_depth, reverse=True):
        for node in net._nodes_by_depth[depth]:
            if node.is_input:
                continue
            layer, given = node.operation, [values[id(tensor)] for tensor in node.input_tensors]
            if isinstance(layer, keras.Model):
                answer = _net(graph, layer, given)
            else:
                write_layer: Callable[..., str] | None = LAYERS.get(type(layer).__name__)
                if write_layer is None or not isinstance(layer, keras.layers.Layer):
                    raise refusal(layer)
                shapes = [tuple(tensor.shape) for tensor in (*node.input_tensors, *node.output_tensors)]
                answer = write_layer(graph, layer, given, shapes)
            values[id(node.output_tensors[0])] = answer
    return values[id(net.outputs[0])]
