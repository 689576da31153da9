"""Checkpoint directories: `model.json` and `state.npz`; nothing in them is pickled."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Required,  # which pydantic can check before Python 3.12
)

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import is_own
from fersweep.common.own_code.importing import name_of
from fersweep.common.untrusted import GB, MB, parse_json, read_arrays, read_regular, why
from fersweep.data_pipeline.tasks.arrays import TaskArrays

MOST_JSON_BYTES, MOST_BYTES = 64 * MB, 64 * GB


def describe_model(name: str, hparams: BaseModel, arrays: TaskArrays, seed: int) -> dict[str, Any]:
    """`model.json` of a model: what is needed beside the weights to build it again and to feed it, and "learned": a list of
    what it learned from, each as `Task.learned` has it.

    `name`: of the trainable; a file of own code gives its `__name__`.
    """
    return {
        "trainable": name_of(name),
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
    """Write `model.json` and `state.npz` into `directory` (created if missing); and of own code a copy."""
    directory.mkdir(parents=True, exist_ok=True)
    if is_own(name := model.get("trainable", "")):
        copies.write(copies.find(name, "trainable"), directory)
    np.savez(directory / "state.npz", **state)  # type: ignore[arg-type]
    (directory / "model.json").write_text(json.dumps(model, indent=1))


def read_model(directory: Path) -> dict[str, Any]:
    """The `model.json` of a checkpoint directory. Raises InputError where it is missing, or is none."""
    path = directory / "model.json"
    try:
        content = parse_json(read_regular(path, MOST_JSON_BYTES))
        _checker().validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, ValueError) as error:
        what = why(error)
    else:
        return content
    raise InputError(f"{path} is no model's description: {what}; put a copy of the checkpoint back")


def read_checkpoint(directory: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The `model.json` and the arrays of a checkpoint directory. Raises InputError where either cannot be read."""
    path = directory / "state.npz"
    try:
        state = read_arrays(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {why(error)}; put a copy of the checkpoint back") from None
    return read_model(directory), state


class _Member(TypedDict, total=False):
    """A member of an ensemble. `name`: as people called it."""

    trainable: str
    hparams: dict[str, Any]
    feature_names: Required[list[str]]
    weight: Required[Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]]
    name: str


class _Model(TypedDict, total=False):
    """What every `model.json` holds; a trainable adds its own. An ensemble's has the number of its members, and who they are."""

    trainable: str
    hparams: dict[str, Any]
    classes: Required[Annotated[list[str], Field(min_length=1, max_length=10_000)]]
    groups: dict[str, list[str]] | None
    feature_names: Required[list[str]]
    preprocessing: dict[str, Any] | None
    fingerprint: str
    seed: int
    epoch: Annotated[int, Field(ge=0)]
    ensemble: Annotated[int, Field(ge=1, le=1000)]
    folds: Annotated[int, Field(ge=2, le=1000)]
    members: list[_Member]


@functools.cache
def _checker() -> TypeAdapter[_Model]:
    return TypeAdapter(_Model)
