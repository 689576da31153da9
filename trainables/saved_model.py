"""Checkpoint directories: `model.json` and `state.npz`; nothing in them is pickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from fersweep.data_pipeline.tasks.arrays import TaskArrays


def describe_model(name: str, hparams: BaseModel, arrays: TaskArrays, seed: int) -> dict[str, Any]:
    """`model.json` of a model: what is needed beside the weights to build it again and to feed it, and "learned": a list of
    what it learned from, each as `Task.learned` has it.
    """
    return {
        "trainable": name,
        "hparams": hparams.model_dump(),
        "classes": arrays.classes,
        "groups": arrays.groups,
        "feature_names": arrays.feature_names,
        "preprocessing": arrays.preprocessing,
        "fingerprint": arrays.fingerprint,
        "seed": seed,
        **({"learned": arrays.learned} if arrays.learned else {}),
    }


def write_checkpoint(directory: Path, model: dict[str, Any], state: dict[str, np.ndarray]) -> None:
    """Write `model.json` and `state.npz` into `directory` (created if missing)."""
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / "state.npz", **state)  # type: ignore[arg-type]
    (directory / "model.json").write_text(json.dumps(model, indent=1))


def read_model(directory: Path) -> dict[str, Any]:
    """The `model.json` of a checkpoint directory."""
    return json.loads((directory / "model.json").read_text())


def read_checkpoint(directory: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The `model.json` and the arrays of a checkpoint directory."""
    with np.load(directory / "state.npz", allow_pickle=False) as archive:
        state = {name: archive[name] for name in archive.files}
    return read_model(directory), state
