"""Any model by one name, ready to be judged or used.

    model = open_model("champion", home)      # an alias (also as @champion), or a version's number, of the MLflow registry
    open_model("cnn", home)                   # a sweep: its best trial; "cnn:7" is trial 7
    open_model("path/epoch-0012", home)       # a checkpoint directory
    open_model("peer.onnx", home)             # an ONNX file; or another that `fersweep export` wrote
    open_model("peer.py:classify", home)      # a Python callable, in a file or in an installed module
    model.predict(x)                          # (N, …) → (N, C) probabilities

A callable is given gray faces (N, H, W) uint8 and returns (N, C) probabilities; it may have the attributes `classes` (a
list of names; without it they are those of the task), `features = "blendshapes"` (it is then given (N, 52) scores in
MediaPipe's order) and `image_size = (H, W)` of the faces that it wants. It is imported and run: it must be trusted.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.errors import InputError
from fersweep.results.models.callables import open_callable
from fersweep.results.models.face_model import FaceModel, Origin
from fersweep.results.models.learned import older_record, sweep_of
from fersweep.results.models.names import aliases
from fersweep.results.models.own_code import admit
from fersweep.results.record.home import find_sweep, split_spec, sweep_names
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.trainables.exports import formats
from fersweep.trainables.saved_model import read_model

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient


def open_model(spec: str, home: Path) -> FaceModel:
    """The model called `spec`, see the top of this file. InputError where there is none, saying what would be one."""
    path = Path(spec)
    if (path / "model.json").is_file():
        described = read_model(path)
        admit(spec, described, path, home)
        if "learned" not in described:
            described["learned"] = older_record(described, *sweep_of(path))
        return FaceModel(spec, described, path)
    if path.suffix == ".onnx":
        from fersweep.trainables.exports.onnx_files import read_onnx

        described, answer = read_onnx(path)
        return FaceModel(path.name, described, answer=answer)
    if path.suffix in formats.FORMATS:
        exported = formats.open_exported(path)
        return FaceModel(path.name, exported.model, answer=exported.predict)
    if "/" in spec and "://" not in spec and ":" not in spec:
        raise InputError(f"{spec}: there is no checkpoint (a directory with model.json) and no .onnx file")
    name, colon, rest = spec.rpartition(":")
    if colon and not rest.isdigit() and "://" not in spec and not spec.startswith("models:"):
        return open_callable(spec, name, rest)
    return _version_or_trial(spec, home)


def _version_or_trial(spec: str, home: Path) -> FaceModel:
    """A registered version, or a trial of a sweep."""
    from fersweep.results.mlflow_store import registry

    name, trial = split_spec(spec)
    alias = re.sub(r"^models:/\w+[@/]|^@", "", spec)
    if alias == spec and not spec.isdigit():
        sweeps = sweep_names(home)
        if name in sweeps or "://" in name:
            if trial is None and spec in aliases(home):
                raise InputError(
                    f"{spec!r} is a sweep and an alias of a registered model in {home}: want @{spec} for the alias, "
                    f"{spec}:TRIAL for a trial of the sweep"
                )
            return _trial(name, trial, home)
        if not _is_alias(spec, home):
            known = f"sweeps: {', '.join(sweeps) or 'none'}"
            raise InputError(
                f"no model {spec!r} in {home}; {known}; or an alias, a version's number, a checkpoint's directory, FILE.onnx, "
                "FILE.py:FUNCTION"
            )
    client = registry.open_registry(home)
    return open_version(client, registry.find_version(client, alias), home, alias)


def open_version(client: MlflowClient, version: ModelVersion, home: Path, name: str) -> FaceModel:
    """A registered version, called `name`."""
    from fersweep.results.mlflow_store import registry
    from fersweep.results.mlflow_store.connection import is_embedded

    checkpoint = registry.fetch(client, version)
    origin, sweep = Origin(int(version.version)), version.tags.get("fersweep.sweep", "")
    if _is_here(sweep, version.tags.get("fersweep.sweep_id"), home):
        origin = replace(origin, sweep=sweep, trial=int(version.tags["fersweep.trial"]))
    described = read_model(checkpoint)
    admit(name, described, checkpoint, home, is_ours=is_embedded(client, home))
    if "learned" not in described:
        whose = None if origin.sweep is None else read_sweep_json(find_sweep(home, origin.sweep))
        is_refit = version.tags.get("fersweep.refit", "none") != "none"
        described["learned"] = older_record(described, whose, is_refit)
    return FaceModel(name, described, checkpoint, origin=origin)


def _is_here(name: str, sweep_id: str | None, home: Path) -> bool:
    """Is the sweep in this home, and not another one under its name? `sweep_id`: None in the oldest versions' tags."""
    directory = Path(home) / "sweeps" / name
    return (directory / "sweep.json").is_file() and sweep_id in (None, read_sweep_json(directory).sweep_id)


def _is_alias(name: str, home: Path) -> bool:
    from fersweep.results.mlflow_store import registry

    try:
        client = registry.open_registry(home)
    except InputError:
        return False
    return registry.holder(client, name) is not None


def _trial(name: str, number: int | None, home: Path) -> FaceModel:
    recorded = load_sweep(find_sweep(home, name))
    trial, checkpoint = recorded.choose_trial(number)
    described, sweep = read_model(checkpoint), recorded.sweep
    admit(name, described, checkpoint, home, is_ours=True)
    described["groups"] = described.get("groups") or sweep.asked.task.classes or {}  # an older checkpoint has none
    described.setdefault("learned", older_record(described, sweep, refit=False))
    origin = Origin(sweep=sweep.name, trial=trial.number)
    return FaceModel(f"{sweep.name}:{trial.number}", described, checkpoint, origin=origin)
