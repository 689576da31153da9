"""Exports of ensembles: one .onnx file of all members, whose answers are their weighted mean.

The inputs are `faces` (N, H, W) uint8, if a member sees pixels, and `features` (N, F) float32, the numbers that any member
sees. A row of `features` with a NaN is a face in which MediaPipe found none: it is answered by the members that see pixels.
Each member is exported on its own and becomes a part of the graph: its names begin with `member0/`, those around it with
`mean0/`.
"""

# onnx has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.data_pipeline.tasks.features import is_mixed, vector_names
from fersweep.trainables.ensemble import Ensemble

OPSET, IR_VERSION = 20, 10  # of the members' files, too


def write(ensemble: Ensemble, path: Path, write_member: Callable[[Any, Path], None]) -> None:
    """Write the ensemble to `path`, an .onnx file. `write_member` writes a member to such a file."""
    from onnx import TensorProto, checker, compose, helper, inliner, load, numpy_helper, save_model

    names, classes = ensemble.model["feature_names"], ensemble.model["classes"]
    vectors = vector_names(names)
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: Any, dtype: type = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(operator: str, inputs: list[str], to: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [to], **attributes))
        return to

    answers: list[str] = []
    weights: list[str] = []
    for index, (member, weight, sees) in enumerate(zip(ensemble.members, ensemble.weights, ensemble.sees, strict=True)):
        prefix = f"member{index}/"
        with tempfile.TemporaryDirectory() as directory:
            write_member(member, Path(directory) / "member.onnx")
            alone = inliner.inline_local_functions(load(Path(directory) / "member.onnx"))
            part = compose.add_prefix(alone, prefix)
        given, answer = part.graph.input[0].name, part.graph.output[0].name
        own = constant(f"mean{index}/weight", weight)
        if sees == ["pixels"]:
            node("Identity", ["faces"], given)
        else:
            columns = constant(f"mean{index}/columns", [vectors.index(name) for name in sees], np.int64)
            node("Gather", ["features", columns], given, axis=1)
        nodes.extend(part.graph.node)
        constants.extend(part.graph.initializer)
        if is_mixed(names) and sees != ["pixels"]:
            total = node(
                "ReduceSum", [given, constant(f"mean{index}/axis", [1], np.int64)], f"mean{index}/sum", keepdims=1
            )
            seen = node("Not", [node("IsNaN", [total], f"mean{index}/unseen")], f"mean{index}/seen")
            zero = constant(f"mean{index}/zero", 0.0)
            answer = node("Where", [seen, answer, zero], f"mean{index}/answer")
            own = node("Where", [seen, own, zero], f"mean{index}/own")
        answers.append(node("Mul", [answer, own], f"mean{index}/weighted"))
        weights.append(own)
    node("Div", [node("Sum", answers, "sum"), node("Sum", weights, "weight")], "probabilities")
    inputs: list[Any] = []
    if "pixels" in names:
        height, width = ensemble.model["preprocessing"]["image_size"]
        inputs.append(helper.make_tensor_value_info("faces", TensorProto.UINT8, ["N", height, width]))
    if vectors:
        inputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(vectors)]))
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)])
    whole = helper.make_model(
        helper.make_graph(nodes, "fersweep", inputs, [output], constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(whole, {key: json.dumps(value) for key, value in ensemble.card.items()})
    checker.check_model(whole, full_check=True)
    save_model(whole, path)
