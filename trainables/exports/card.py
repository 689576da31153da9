"""The card of an exported file: its checkpoint's model.json."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError

CARD = "model.json"  # in a .tflite or .keras file, which are zip archives also


def fitting(x: np.ndarray, model: dict[str, Any]) -> np.ndarray:
    """x in the type that an exported graph takes."""
    return np.ascontiguousarray(x, np.uint8 if model["feature_names"] == ["pixels"] else np.float32)


def write_card(path: Path, model: dict[str, Any]) -> None:
    """Append `model` to a file as a member of a zip archive: LiteRT stores associated files that way, and a .keras file
    is an archive.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CARD, json.dumps(model, indent=1))


def read_card(path: Path) -> dict[str, Any]:
    """What `write_card` appended. Raises InputError if there is none, or it lacks a key."""
    try:
        with zipfile.ZipFile(path) as archive:
            model: dict[str, Any] = json.loads(archive.read(CARD))
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
