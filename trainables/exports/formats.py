"""Files that a trained model was exported to: open one, and it predicts as the model did, preprocessing included.

    exported = open_exported(Path("model.tflite"))          # onnx_files.py opens .onnx, ours and others'
    exported.predict(x)     # (N, F) float32 blendshapes or (N, H, W) uint8 gray faces → (N, C) float32 probabilities
    exported.model          # its checkpoint's model.json: classes, feature_names, preprocessing, …

A model that can be exported offers

    EXPORTS                 suffixes of the formats that `write` can write it in
    card                    what the file says about it: the keys of model.json
    predict_exactly(x)      `predict` in float32 throughout, as the file computes
    to_onnx()               an onnx.ModelProto that answers as `predict` does: of a trainable of somebody's own, whose EXPORTS are
                            (".onnx",), in place of our writers

results/models/export.py writes such files and compares their answers with the model's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.common.files import regular_file
from fersweep.trainables.ensemble import Ensemble

FORMATS = {".onnx": "ONNX", ".tflite": "LiteRT", ".keras": "Keras", ".safetensors": "safetensors"}


class Exported(Protocol):
    """An exported file that was opened."""

    model: dict[str, Any]

    def predict(self, x: np.ndarray) -> np.ndarray: ...


def write(model: Any, path: Path) -> None:
    """Write a model to a file that predicts without this program; the suffix, one of the model's EXPORTS, is the format."""
    if isinstance(model, Ensemble):
        from fersweep.trainables.exports import ensemble_files

        ensemble_files.write(model, path, write)
        return
    if hasattr(model, "to_onnx"):
        from fersweep.trainables.exports import onnx_files

        onnx_files.write(model.to_onnx(), model.card, path)
        return
    if trainables.framework(model.card["trainable"]) == "tensorflow":
        from fersweep.trainables.exports import keras_files as files
    else:
        from fersweep.trainables.exports import torch_files as files

    files.write(model, path)


def open_exported(path: Path) -> Exported:
    """The model in a .tflite, .keras or .safetensors file that `export` wrote. Raises InputError if it is none."""
    path = regular_file(Path(path))
    if path.suffix == ".tflite":
        from fersweep.trainables.exports.keras_files import LiteRTModel

        return LiteRTModel(path)
    if path.suffix == ".keras":
        from fersweep.trainables.exports.keras_files import KerasFile

        return KerasFile(path)
    if path.suffix == ".safetensors":
        from fersweep.trainables.exports.torch_files import open_safetensors

        return open_safetensors(path)
    raise InputError(f"{path}: wanted a file that ends in .tflite, .keras or .safetensors")
