"""The card of an exported file: its checkpoint's model.json."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

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
    model: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive, archive.open(CARD) as file:
            content: Any = json.loads(file.read(MAX_CARD_BYTES))
            model = cast(dict[str, Any], content) if isinstance(content, dict) else {}
    except Exception:  # whatever zipfile raises for a broken archive, and json for what is none
        pass
    missing = [key for key in ("classes", "feature_names", "preprocessing") if key not in model]
    if missing:
        raise InputError(
            f"{path}: does not say its {missing[0]}: it is not a file that `fersweep export` wrote, or another "
            "program rewrote it"
        )
    return check_card(path, model)


Names = Annotated[list[str], Field(min_length=1, max_length=10_000)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class _Preprocessing(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    image_size: Annotated[list[Side], Field(min_length=2, max_length=2)] | None = (
        None  # none: of ready-made blendshapes
    )
    border: float | None = Field(None, ge=0, le=4)
    size: Side | None = None
    views: int | None = Field(None, ge=1, le=64)


class _Card(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    classes: Names | None = None
    groups: dict[str, list[str]] | None = None
    feature_names: Names | None = None
    preprocessing: _Preprocessing | None = None
    fingerprint: str | None = None

    @field_validator("classes")
    @classmethod
    def _differ(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("twice the same")
        return value


def check_card(path: Path, model: dict[str, Any]) -> dict[str, Any]:
    """`model`, if what it says of itself can be: names are text, sizes and numbers are those of faces. Raises InputError."""
    try:
        _Card.model_validate(model)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise InputError(f"{path}: its {key} cannot be {json.dumps(model[key])[:100]}") from None
    return model
