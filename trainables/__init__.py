"""Model families that can be searched: one a file, loaded by name, so that a trial imports one framework only."""

from __future__ import annotations

import difflib
import importlib
import json
from pathlib import Path
from types import ModuleType

NAMES = {
    "blendshape_lstm": "trainables.blendshape_lstm",
    "blendshape_dense": "trainables.blendshape_dense",
    "curve": "trainables.curve",
}


def load(name: str) -> ModuleType:
    """The module of the trainable `name`. Raises ValueError with the nearest known name."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(NAMES)}"
        raise ValueError(f"unknown trainable {name!r}: {hint}")
    return importlib.import_module(NAMES[name])


def restore(directory: Path):
    """The trained model in a checkpoint directory, ready to predict."""
    model = json.loads((Path(directory) / "model.json").read_text())
    return load(model["trainable"]).restore(Path(directory))
