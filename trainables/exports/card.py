"""The card of an exported file: its checkpoint's model.json."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.processes import bounded_memory

CARD = "model.json"  # in a .tflite or .keras file, which are zip archives also
MAX_CARD_BYTES = 2**24
MAX_SIDE = 4096  # pixels of a face
MAX_BYTES = 2**34  # of memory that a model may ask for


@contextmanager
def of_file(path: Path) -> Iterator[None]:
    """While the model in a file is read or asked: what it fails with becomes an InputError of one line, also where it asks for
    more memory than MAX_BYTES.
    """
    try:
        with bounded_memory(MAX_BYTES):
            yield
    except InputError:
        raise
    except Exception as error:  # each library has its own, one for each kind of damage
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise InputError(f"{path}: cannot be used as a model ({reason[:300]})") from error


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
        with zipfile.ZipFile(path) as archive, archive.open(CARD) as file:
            model: Any = json.loads(file.read(MAX_CARD_BYTES))
    except Exception:  # whatever zipfile raises for a broken archive, and json for what is none
        model = {}
    missing = [
        key for key in ("classes", "feature_names", "preprocessing") if not isinstance(model, dict) or key not in model
    ]
    if missing:
        raise InputError(
            f"{path}: does not say its {missing[0]}: it is not a file that `fersweep export` wrote, or another "
            "program rewrote it"
        )
    return check_card(path, model)


def check_card(path: Path, model: dict[str, Any]) -> dict[str, Any]:
    """`model`, if what it says of itself can be: names are text, sizes and numbers are those of faces. Raises InputError."""
    for key, right in _RIGHT.items():
        if key in model and not right(model[key]):
            raise InputError(f"{path}: its {key} cannot be {json.dumps(model[key])[:100]}")
    return model


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 10_000 and all(isinstance(name, str) for name in value)


def _is_preprocessing(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    size = value.get("image_size") or [1, 1]  # ready-made blendshapes have none
    if not isinstance(size, list) or len(size) != 2 or not all(_is_between(side, 1, MAX_SIDE) for side in size):
        return False
    numbers = {"border": (0, 4), "size": (1, MAX_SIDE), "views": (1, 64)}
    return all(_is_between(value[key], low, high) for key, (low, high) in numbers.items() if key in value)


def _is_between(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


_RIGHT = {
    "classes": lambda value: _is_names(value) and len(set(value)) == len(value) > 1,
    "feature_names": _is_names,
    "groups": lambda value: isinstance(value, dict) and all(map(_is_names, value.values())),
    "preprocessing": _is_preprocessing,
    "fingerprint": lambda value: isinstance(value, str),
}
