"""Model families that can be searched: one a file, loaded by name, so that a trial imports one framework only."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

from data_pipeline.errors import hint

NAMES = {
    "blendshape_lstm": "trainables.blendshape_lstm",
    "blendshape_dense": "trainables.blendshape_dense",
    "pixel_mlp": "trainables.pixel_mlp",
    "cnn": "trainables.cnn",
    "transfer": "trainables.transfer",
    "curve": "trainables.curve",
    "faulty_curve": "trainables.faulty_curve",
}


def load(name: str) -> ModuleType:
    """The module of the trainable `name`. Raises ValueError with the nearest known name."""
    if name not in NAMES:
        raise ValueError(f"unknown trainable {name!r}: {hint(name, NAMES)}")
    return importlib.import_module(NAMES[name])


def restore(directory: Path):
    """The trained model in a checkpoint directory, ready to predict."""
    model = json.loads((Path(directory) / "model.json").read_text())
    return load(model["trainable"]).restore(Path(directory))
