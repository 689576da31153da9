"""How a checkpoint is packed as an MLflow model: code, bundle, signature, input example, and what it is installed with.

    info = log_model(model, task, example, probabilities)     # inside an MLflow run

The model itself is results/promote/pyfunc.py.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep import trainables
from fersweep.common.own_code.code import is_own
from fersweep.common.processes import ROOT
from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
from fersweep.data_pipeline.tasks.features import is_mixed, vector_names
from fersweep.data_pipeline.tasks.learned_faces import FILE
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.mlflow_store.addresses import file_uri
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.learned import faces_of
from fersweep.trainables.saved_model import read_model

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature


REQUIREMENTS = {
    "numpy": ["numpy"],
    "tensorflow": ["numpy", "tensorflow", "keras"],
    "torch": ["numpy", "torch"],
}
MORE = {"transfer": ["timm", "torchvision"]}  # of one trainable
TRAVELS = ("common", "data_pipeline", "trainables")  # rooms that a model needs to predict
PHOTOS = ["mediapipe", "opencv-contrib-python", "pillow"]  # imported when the first image comes


def log_model(model: FaceModel, task: Task, example: np.ndarray, probabilities: np.ndarray) -> Any:
    """Log results/promote/pyfunc.py with its checkpoint, the faces that it learned, bundle, code, signature and an input
    example to the active MLflow run.

    Args:
        example: inputs as the task gives them, (N, F) features, (N, H, W) faces, or (N,) of both.
        probabilities: (N, C), the checkpoint's answers to them.
    """
    import mlflow
    import pandas as pd

    checkpoint = model.checkpoint
    assert checkpoint is not None
    names, vectors = task.feature_names, vector_names(task.feature_names)
    numbers = example["features"] if is_mixed(names) else example
    faces = {"face": list(example["pixels"] if vectors else example)} if "pixels" in names else {}
    rows = pd.concat([pd.DataFrame(faces), *([pd.DataFrame(numbers, columns=vectors)] if vectors else [])], axis=1)
    answers = pd.DataFrame(probabilities, columns=task.classes)
    answers["label"] = answers.idxmax(axis=1)
    with tempfile.TemporaryDirectory() as directory:
        learned = Path(directory) / FILE
        faces_of(model, task.place).save(learned)
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={
                "checkpoint": file_uri(checkpoint),
                "learned": file_uri(learned),
                **_bundle(),
            },
            code_paths=[_copy_code(Path(directory))],
            signature=_signature(names, answers),
            input_example=rows,
            pip_requirements=requirements(read_model(checkpoint)),
        )


def _bundle() -> dict[str, str]:
    """MediaPipe's bundle as an artifact. Where it cannot be had, the model looks for it where its first image comes."""
    try:
        return {"landmarker": file_uri(find_bundle())}
    except RuntimeError:
        return {}


def _signature(feature_names: list[str], answers: pd.DataFrame) -> ModelSignature:
    """Images, or what the model is fed; answers with or without boxes: all that is not always there is optional."""
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    features = [(AnyType(), "face") if name == "pixels" else (DataType.double, name) for name in feature_names]
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(kind, name, required=False) for kind, name in [(AnyType(), "image"), *features]
    ]
    columns: list[Any] = infer_signature(answers).inputs.inputs
    boxes = [ColSpec(DataType.long, name, required=False) for name in ("left", "top", "right", "bottom", "row")]
    return ModelSignature(
        inputs=Schema(inputs),
        outputs=Schema([*(ColSpec(column.type, column.name, required=False) for column in columns), *boxes]),
        params=ParamSchema([ParamSpec("all_faces", DataType.boolean, False)]),
    )


def requirements(described: Mapping[str, Any]) -> list[str]:
    """What the model that a checkpoint's model.json describes is installed with."""
    names = ["mlflow", "pandas", "pyarrow", "pydantic", *PHOTOS]
    for member in described.get("members") or [described]:
        name = member["trainable"]
        names += [*REQUIREMENTS[trainables.framework(name)], *MORE.get(name, [])]
        names += trainables.requirements(name) if is_own(name) else []
        if member["hparams"].get("head") == "trees":
            names.append("treelite")
    return [f"{name}=={version(name).split('+')[0]}" for name in dict.fromkeys(names)]


def _copy_code(directory: Path) -> str:
    """The package `fersweep` with the rooms that a model needs to predict, copied under `directory`."""
    package, ours = directory / "fersweep", ROOT / "fersweep"
    package.mkdir()
    shutil.copy(ours / "__init__.py", package)
    for room in TRAVELS:
        shutil.copytree(ours / room, package / room, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return str(package)
