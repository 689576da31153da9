"""Files that a trained model was exported to: open one, and it predicts as the model did, preprocessing included.

    found = open_exported(Path("model.tflite"))             # results/onnx_model.py opens .onnx, ours and others'
    found.predict(x)        # (N, F) float32 blendshapes or (N, H, W) uint8 gray faces → (N, C) float32 probabilities
    found.model             # what its checkpoint's model.json said: classes, feature_names, preprocessing, …

A model that can be exported offers

    EXPORTS                 suffixes of the formats that it can be written in
    export(path)            write the file; the suffix says which format
    predict_exactly(x)      `predict` in float32 throughout, as the file computes

results/export.py writes such files and compares their answers with the model's.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.quiet import silent_stderr
from trainables.base import num_threads

FORMATS = {".onnx": "ONNX", ".tflite": "LiteRT", ".keras": "Keras", ".safetensors": "safetensors"}
CARD = "model.json"  # in a .tflite or .keras file, which are zip archives also


class Exported(Protocol):
    """An exported file that was opened."""

    model: dict[str, Any]

    def predict(self, x: np.ndarray) -> np.ndarray: ...


def open_exported(path: Path) -> Exported:
    """The model in a .tflite, .keras or .safetensors file that `export` wrote. Raises InputError if it is none."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if path.suffix == ".tflite":
        return LiteRTModel(path)
    if path.suffix == ".keras":
        from trainables.keras_export import KerasFile

        return KerasFile(path)
    if path.suffix == ".safetensors":
        from trainables.torch_export import open_safetensors

        return open_safetensors(path)
    raise InputError(f"{path}: wanted a file that ends in .tflite, .keras or .safetensors")


class LiteRTModel:
    """A .tflite file in LiteRT's interpreter."""

    def __init__(self, path: Path):
        from ai_edge_litert.interpreter import Interpreter

        self.model = read_card(path)
        with silent_stderr():
            self._interpreter = Interpreter(model_path=str(path), num_threads=num_threads())
            self._interpreter.allocate_tensors()
        self._input, self._output = (
            details[0]["index"]
            for details in (self._interpreter.get_input_details(), self._interpreter.get_output_details())
        )
        self._num_rows = 1

    def predict(self, x: np.ndarray) -> np.ndarray:
        """As the model that was exported; of no rows, none."""
        x, run = fitting(x, self.model), self._interpreter
        if len(x) == 0:
            return np.zeros((0, len(self.model["classes"])), np.float32)
        if len(x) != self._num_rows:
            run.resize_tensor_input(self._input, x.shape)
            run.allocate_tensors()
            self._num_rows = len(x)
        run.set_tensor(self._input, x)
        run.invoke()
        return run.get_tensor(self._output)


def fitting(x: np.ndarray, model: dict[str, Any]) -> np.ndarray:
    """x in the type that an exported graph takes."""
    return np.ascontiguousarray(x, np.uint8 if model["feature_names"] == ["pixels"] else np.float32)


def write_card(path: Path, model: dict[str, Any]) -> None:
    """Append `model` to a file as a zip archive's member: LiteRT's metadata has its associated files that way, and a
    .keras file is an archive anyway.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CARD, json.dumps(model, indent=1))


def read_card(path: Path) -> dict[str, Any]:
    """What `write_card` appended. Raises InputError."""
    try:
        with zipfile.ZipFile(path) as archive:
            model = json.loads(archive.read(CARD))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        model = {}
    _check_card(path, model)
    return model


def _check_card(path: Path, model: dict[str, Any]) -> None:
    missing = [key for key in ("classes", "feature_names", "preprocessing") if key not in model]
    if missing:
        raise InputError(
            f"{path}: does not say its {missing[0]}: it is not a file that `fersweep export` wrote, or another "
            "program rewrote it"
        )
