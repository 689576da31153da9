"""Keras's layers as nodes of ONNX: the part of keras_onnx.py that knows each kind.

Each function is called as `write(graph, layer, inputs, shapes)`: the names of its inputs, and the shapes of these and of its
output, None for the batch. It returns the name of its output.
"""

# onnx has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fersweep.common.errors import InputError

Shapes = list[tuple[Any, ...]]
# Those that have an operator of their own; the others are in Graph.activated.
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "selu": "Selu", "gelu": "Gelu", "sigmoid": "Sigmoid", "elu": "Elu",
               "softplus": "Softplus", "softsign": "Softsign", "softmax": "Softmax", "mish": "Mish"}  # fmt: skip


def refusal(layer: Any) -> InputError:
    return InputError(
        f"no ONNX is written for the layer {getattr(layer, 'name', '?')!r}, {type(layer).__name__} of Keras, or not as it is "
        "set: export as .tflite, or as .keras"
    )


class Graph:
    """ONNX nodes of a graph that is being written. Methods take and return names of values."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(
        self, operator: str, *inputs: str, to: str = "", outputs: int = 1, to_type: int | None = None, **attributes: Any
    ) -> str:
        """One node; its only output, or the stem of the names of its `outputs`. to_type: Cast's attribute `to`."""
        from onnx import helper

        name = to or f"v{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        if to_type is not None:
            attributes["to"] = to_type
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return name

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def activated(self, x: str, layer: Any) -> str:
        name = getattr(layer.activation, "__name__", "")
        if name == "linear":
            return x
        if name in ("silu", "swish"):
            return self.add("Mul", x, self.add("Sigmoid", x))
        if name == "relu6":
            return self.add("Clip", x, self.constant(0.0), self.constant(6.0))
        if name == "leaky_relu":
            return self.add("LeakyRelu", x, alpha=0.2)
        if name not in ACTIVATIONS:
            raise refusal(layer)
        attributes: dict[str, Any] = {"axis": -1} if name == "softmax" else {}
        return self.add(ACTIVATIONS[name], x, **attributes)

    def plus(self, x: str, weight: Any) -> str:
        """x and a layer's bias, if it has one."""
        return x if weight is None else self.add("Add", x, self.constant(weight))

    def channels_first(self, x: str, rank: int, work: Callable[[str], str]) -> str:
        """`work` on x (N, places …, C) as (N, C, places …); rank: number of places' axes."""
        first, last = [0, rank + 1, *range(1, rank + 1)], [0, *range(2, rank + 2), 1]
        return self.add("Transpose", work(self.add("Transpose", x, perm=first)), perm=last)


def _same(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    return inputs[0]


def _reshape(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    return graph.add("Reshape", inputs[0], graph.constant([-1, *shapes[-1][1:]], np.int64))


def _permute(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    return graph.add("Transpose", inputs[0], perm=[0, *layer.dims])


def _dense(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    kernel, bias = graph.constant(layer.kernel), layer.bias
    if len(shapes[0]) == 2 and bias is not None:
        return graph.activated(graph.add("Gemm", inputs[0], kernel, graph.constant(bias)), layer)
    return graph.activated(graph.plus(graph.add("MatMul", inputs[0], kernel), bias), layer)


def _batch_norm(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    if layer.axis not in (-1, len(shapes[0]) - 1):
        raise refusal(layer)
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    scale = (1.0 if layer.gamma is None else np.asarray(layer.gamma)) / np.sqrt(variance + layer.epsilon)
    shift = (0.0 if layer.beta is None else np.asarray(layer.beta)) - mean * scale
    return graph.add("Add", graph.add("Mul", inputs[0], graph.constant(scale)), graph.constant(shift))


def _layer_norm(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    axis, width = layer.axis, shapes[0][-1]
    if axis not in (-1, [-1], len(shapes[0]) - 1, [len(shapes[0]) - 1]) or getattr(layer, "rms_scaling", False):
        raise refusal(layer)
    gamma = np.ones(width) if layer.gamma is None else layer.gamma
    given = [inputs[0], graph.constant(gamma)] + ([] if layer.beta is None else [graph.constant(layer.beta)])
    return graph.add("LayerNormalization", *given, axis=-1, epsilon=float(layer.epsilon))


def _normalization(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    if layer.invert:
        raise refusal(layer)
    centred = graph.add("Sub", inputs[0], graph.constant(layer.mean))
    return graph.add("Div", centred, graph.constant(np.sqrt(np.asarray(layer.variance))))


def _rescaling(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    return graph.add("Add", graph.add("Mul", inputs[0], graph.constant(layer.scale)), graph.constant(layer.offset))


def _activation(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    return graph.activated(inputs[0], layer)


def _relu(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    if layer.negative_slope or layer.threshold:
        raise refusal(layer)
    x = graph.add("Relu", inputs[0])
    return x if layer.max_value is None else graph.add("Min", x, graph.constant(layer.max_value))


def _leaky_relu(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    return graph.add("LeakyRelu", inputs[0], alpha=float(layer.negative_slope))


def _elu(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    return graph.add("Elu", inputs[0], alpha=float(layer.alpha))


def _softmax(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    return graph.add("Softmax", inputs[0], axis=layer.axis)


def _convolution(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    """Also depthwise and separable ones, of one or two axes of places."""
    if layer.data_format != "channels_last" or layer.padding == "causal":
        raise refusal(layer)
    rank, num_inputs = len(shapes[0]) - 2, shapes[0][-1]
    padding = {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]
    how: dict[str, Any] = {"auto_pad": padding, "strides": layer.strides, "dilations": layer.dilation_rate}
    out = [rank + 1, rank, *range(rank)]  # kernels: places …, inputs, outputs → outputs, inputs, places …

    def kernel(weights: Any) -> str:
        return graph.constant(np.asarray(weights).transpose(out))

    def depthwise(weights: Any) -> str:
        each = np.moveaxis(np.asarray(weights), (rank, rank + 1), (0, 1))
        return graph.constant(each.reshape(-1, 1, *each.shape[2:]))

    def work(x: str) -> str:
        kind = type(layer).__name__
        if kind.startswith("Depthwise"):
            return graph.add("Conv", x, depthwise(layer.kernel), group=num_inputs, **how)
        if kind.startswith("Separable"):
            x = graph.add("Conv", x, depthwise(layer.depthwise_kernel), group=num_inputs, **how)
            return graph.add("Conv", x, kernel(layer.pointwise_kernel))
        return graph.add("Conv", x, kernel(layer.kernel), group=layer.groups, **how)

    return graph.activated(graph.plus(graph.channels_first(inputs[0], rank, work), layer.bias), layer)


def _pooling(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    if layer.data_format != "channels_last":
        raise refusal(layer)
    operator = "MaxPool" if "Max" in type(layer).__name__ else "AveragePool"
    padding = {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]
    how: dict[str, Any] = {"auto_pad": padding, "kernel_shape": layer.pool_size, "strides": layer.strides}
    return graph.channels_first(inputs[0], len(shapes[0]) - 2, lambda x: graph.add(operator, x, **how))


def _global_pooling(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    if layer.data_format != "channels_last":
        raise refusal(layer)
    operator = "ReduceMax" if "Max" in type(layer).__name__ else "ReduceMean"
    axes = graph.constant(list(range(1, len(shapes[0]) - 1)), np.int64)
    return graph.add(operator, inputs[0], axes, keepdims=int(layer.keepdims))


def _zero_padding(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    if layer.data_format != "channels_last":
        raise refusal(layer)
    (top, bottom), (left, right) = layer.padding
    return graph.add("Pad", inputs[0], graph.constant([0, top, left, 0, 0, bottom, right, 0], np.int64))


def _joined(operator: str) -> Callable[..., str]:
    def write(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
        return graph.add(operator, *inputs) if len(inputs) == 2 else _joined_more(graph, operator, inputs)

    return write


def _joined_more(graph: Graph, operator: str, inputs: list[str]) -> str:
    total = inputs[0]
    for other in inputs[1:]:
        total = graph.add(operator, total, other)
    return total


def _concatenate(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    return graph.add("Concat", *inputs, axis=layer.axis)


def _lstm(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    return _unrolled(graph, layer, inputs[0], shapes[0][1])


def _bidirectional(graph: Graph, layer: Any, inputs: list[str], shapes: Shapes) -> str:
    both = (layer.forward_layer, layer.backward_layer)
    if layer.merge_mode != "concat" or any(type(part).__name__ != "LSTM" for part in both):
        raise refusal(layer)
    return graph.add("Concat", *(_unrolled(graph, part, inputs[0], shapes[0][1]) for part in both), axis=-1)


def _unrolled(graph: Graph, layer: Any, x: str, num_steps: int) -> str:
    """(N, T, F) → (N, units), or (N, T, units) where the layer returns all steps: unrolled, since ONNX's own LSTM
    has no SELU, and most of our nets have one step, in which nothing is recurrent.
    """
    if not layer.use_bias or layer.recurrent_activation.__name__ != "sigmoid":
        raise refusal(layer)
    weights = (layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias)
    kernel, recurrent_kernel, bias = map(np.asarray, weights)
    recurrent = graph.constant(recurrent_kernel) if num_steps > 1 else ""
    gates = graph.add("Add", graph.add("MatMul", x, graph.constant(kernel)), graph.constant(bias))
    hidden, cell = "", ""
    outputs: list[str] = []
    for step in reversed(range(num_steps)) if layer.go_backwards else range(num_steps):
        step_gates = graph.add("Gather", gates, graph.constant(step, np.int64), axis=1)
        if hidden:
            step_gates = graph.add("Add", step_gates, graph.add("MatMul", hidden, recurrent))
        parts = graph.add("Split", step_gates, outputs=4, axis=-1, num_outputs=4)
        input_gate, forget_gate, _, output_gate = (f"{parts}_{i}" for i in range(4))
        new = graph.add("Mul", graph.add("Sigmoid", input_gate), graph.activated(f"{parts}_2", layer))
        cell = graph.add("Add", graph.add("Mul", graph.add("Sigmoid", forget_gate), cell), new) if cell else new
        hidden = graph.add("Mul", graph.add("Sigmoid", output_gate), graph.activated(cell, layer))
        outputs.append(hidden)
    if not layer.return_sequences:
        return hidden
    axis = graph.constant([1], np.int64)
    outputs = outputs[::-1] if layer.go_backwards else outputs
    return graph.add("Concat", *(graph.add("Unsqueeze", output, axis) for output in outputs), axis=1)


LAYERS: dict[str, Callable[..., str]] = {
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
    "Permute": _permute,
    "ZeroPadding2D": _zero_padding,
    "Add": _joined("Add"),
    "Subtract": _joined("Sub"),
    "Multiply": _joined("Mul"),
    "Maximum": _joined("Max"),
    "Concatenate": _concatenate,
    "LSTM": _lstm,
    "Bidirectional": _bidirectional,
    **dict.fromkeys(("Reshape", "Flatten"), _reshape),
    **dict.fromkeys(
        ("Conv1D", "Conv2D", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"), _convolution
    ),
    **dict.fromkeys(("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D"), _pooling),
    **{f"Global{kind}Pooling{rank}D": _global_pooling for kind in ("Average", "Max") for rank in (1, 2)},
    # What only training does
    **dict.fromkeys(("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"), _same),
    **dict.fromkeys(("AlphaDropout", "ActivityRegularization", "Identity"), _same),
    **dict.fromkeys((f"Random{change}" for change in
                     ("Flip", "Rotation", "Zoom", "Translation", "Contrast", "Brightness", "Erasing", "Shear")), _same),
}  # fmt: skip
