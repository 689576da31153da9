"""A Python function as a model: `FILE.py:FUNCTION`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, cast

from fersweep.common.errors import InputError
from fersweep.common.files import regular_file
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from fersweep.results.models.face_model import Answer, FaceModel


def open_callable(spec: str, place: str, name: str) -> FaceModel:
    """The function `name` of a file or module `place`. Raises InputError if it cannot be imported, or is no function."""
    try:
        if place.endswith(".py"):
            regular_file(Path(place))
            file = importlib.util.spec_from_file_location(Path(place).stem, place)
            assert file is not None
            assert file.loader is not None
            module = importlib.util.module_from_spec(file)
            file.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        answer = getattr(module, name)
    except InputError:
        raise
    except Exception as error:  # whatever somebody's module raises
        raise InputError(f"{spec}: cannot be imported ({type(error).__name__}: {error})") from error
    if not callable(answer):
        raise InputError(f"{spec}: {name} is no function but a {type(answer).__name__}")
    features = getattr(answer, "features", "pixels")
    if features not in ("pixels", "blendshapes"):
        raise InputError(f"{spec}: its attribute features must be 'pixels' or 'blendshapes', but is {features!r}")
    described: dict[str, Any] = {"feature_names": ["pixels"] if features == "pixels" else list(BLENDSHAPES)}
    if classes := getattr(answer, "classes", None):
        described["classes"] = list(classes)
    if image_size := getattr(answer, "image_size", None):
        described["preprocessing"] = {"image_size": list(image_size)}
    return FaceModel(spec, described, answer=cast(Answer, answer))
