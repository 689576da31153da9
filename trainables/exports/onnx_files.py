"""An ONNX file as a model of faces: one that `fersweep export` wrote, or anybody's.

Ours describe themselves in their metadata. For others' files the input's shape decides: (N, 52) is blendshapes;
(N, H, W), (N, 1, H, W), (N, H, W, 1) or three equal channels is gray faces, as numbers 0 to 255 in the input's own type.
A model that needs other numbers is wrapped in a Python callable instead (results/models/callables.py). Outputs that are
not probabilities are treated as logits. An ensemble of ours may have two inputs, `faces` and `features`. `fersweep.classes` (or `classes`) in the file's metadata, a JSON list, names the classes.
"""

# onnxruntime has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.files import regular_file
from fersweep.common.processes import num_threads
from fersweep.data_pipeline.tasks.features import is_mixed, vector_names
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from fersweep.trainables.exports.card import check_card, of_file

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}
BATCH = 512
MAX_FILE_BYTES = 2**31  # of a protobuf message


def write(graph: Any, card: dict[str, Any], path: Path) -> None:
    """Write a graph, an onnx.ModelProto, with what it says of itself."""
    for key, value in card.items():
        graph.metadata_props.add(key=key, value=json.dumps(value))
    path.write_bytes(graph.SerializeToString())


def read_onnx(path: Path) -> tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]:
    """What is known of the model, with the keys of a model.json, and the function (N, …) → (N, C) probabilities.

    Raises InputError if the file is no model of faces.
    """
    import onnxruntime

    if regular_file(path).stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path}: more than {MAX_FILE_BYTES:,} bytes are no ONNX model")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = num_threads()
    with of_file(path):
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        inputs, metadata = session.get_inputs(), session.get_modelmeta().custom_metadata_map
        if len(inputs) == 2 and "ensemble" in metadata:
            model = _mixed_model(metadata, {one.name: (one.type, one.shape) for one in inputs}, path)
        elif len(inputs) != 1 or inputs[0].type not in TYPES:
            types = ", ".join(f"{input_.name} {input_.type}" for input_ in inputs)
            raise InputError(f"{path}: wanted one input of {', '.join(TYPES)}, but it has {types}")
        else:
            model = _model(metadata, inputs[0].shape, path)

    def answer(x: np.ndarray) -> np.ndarray:
        with of_file(path):
            return _probabilities(session, x)

    return model, answer


def _model(metadata: dict[str, str], shape: list[Any], path: Path) -> dict[str, Any]:
    """What is known of a model by its file's metadata and the shape of its input, with the keys of a model.json."""
    model = _described(metadata, path)
    if len(shape) == 2:
        names = model.setdefault("feature_names", list(BLENDSHAPES))
        if shape[1] not in (len(names), None) and not isinstance(shape[1], str):
            raise InputError(f"{path}: it wants {shape[1]} features a face, but MediaPipe has {len(names)} blendshapes")
        return model
    if len(shape) not in (3, 4):
        raise InputError(f"{path}: wanted an input of blendshapes (N, F) or faces (N, H, W), but it has {shape}")
    sides = [size for size in shape[1:] if isinstance(size, int) and size not in (1, 3)]
    if len(sides) == 2:
        model.setdefault("preprocessing", check_card(path, {"preprocessing": {"image_size": sides}})["preprocessing"])
    return {**model, "feature_names": ["pixels"]}


def _mixed_model(metadata: dict[str, str], inputs: dict[str, tuple[str, list[Any]]], path: Path) -> dict[str, Any]:
    """What is known of an ensemble that sees pixels and numbers. inputs: name → type and shape."""
    model = _described(metadata, path)
    names, size = model.get("feature_names", []), (model.get("preprocessing") or {}).get("image_size", [])
    wanted = {
        "faces": ("tensor(uint8)", ["N", *size]),
        "features": ("tensor(float)", ["N", len(vector_names(names))]),
    }
    if not is_mixed(names) or inputs != wanted:
        raise InputError(f"{path}: its two inputs are not the faces and features that `fersweep export` writes")
    return model


def _described(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    """What the file says of itself, checked."""
    model: dict[str, Any] = {}
    for key in ("classes", "groups", "feature_names", "preprocessing", "fingerprint", "learned"):
        text = metadata.get(f"fersweep.{key}", metadata.get(key))
        if text is not None:
            try:
                model[key] = json.loads(text)
            except ValueError:
                model[key] = text
    return check_card(path, model)


def _probabilities(session: Any, x: np.ndarray) -> np.ndarray:
    """(N, …) → (N, C); in batches, which some models want of a fixed size."""
    wanted = session.get_inputs()[0]
    if x.dtype.names is not None:  # features.mixed
        parts = [x[start : start + BATCH] for start in range(0, len(x), BATCH)]
        both = [session.run(None, {"faces": part["pixels"], "features": part["features"]})[0] for part in parts]
        return np.concatenate(both) if both else np.zeros((0, session.get_outputs()[0].shape[1]), np.float32)
    fixed = wanted.shape[0] if isinstance(wanted.shape[0], int) else None
    x = _shaped(x, wanted.shape).astype(TYPES[wanted.type])
    parts: list[np.ndarray] = []
    for start in range(0, len(x), fixed or BATCH):
        batch = x[start : start + (fixed or BATCH)]
        padded = np.resize(batch, (fixed, *batch.shape[1:])) if fixed else batch
        answers = np.asarray(session.run(None, {wanted.name: padded})[0])
        if answers.shape[:1] != (len(padded),):
            raise ValueError(f"its answers to {len(padded)} faces have the shape {answers.shape}")
        parts.append(answers[: len(batch)])
    answers = np.concatenate(parts).reshape(len(x), -1)
    if (answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-3):
        return answers
    powers = np.exp(answers - answers.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _shaped(x: np.ndarray, shape: list[Any]) -> np.ndarray:
    """Faces (N, H, W) with the channel that the input has; vectors as they are."""
    if len(shape) != 4:
        return x
    axis = 1 if shape[1] in (1, 3) else 3
    return np.repeat(np.expand_dims(x, axis), shape[axis] if shape[axis] == 3 else 1, axis=axis)
