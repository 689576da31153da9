"""Any model by one name, ready to be judged or used.

    model = open_model("champion", home)      # an alias, or a version's number, of the MLflow registry
    open_model("cnn", home)                   # a sweep: its best trial; "cnn:7" is trial 7
    open_model("path/epoch-0012", home)       # a checkpoint directory
    open_model("peer.onnx", home)             # an ONNX file (onnx_model.py); or another that `fersweep export` wrote
    open_model("peer.py:classify", home)      # a Python callable, in a file or in an installed module
    model.predict(x)                          # (N, …) → (N, C) probabilities

A callable is given gray faces (N, H, W) uint8 and returns (N, C) probabilities; it may have the attributes `classes` (a
list of names; without it they are those of the task), `features = "blendshapes"` (it is then given (N, 52) scores in
MediaPipe's order) and `image_size = (H, W)` of the faces that it wants. It is imported and run: it must be trusted.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

import trainables
from data_pipeline.decode import fit
from data_pipeline.errors import InputError
from data_pipeline.features import Features, kind
from data_pipeline.schema import BLENDSHAPES, LABELS
from data_pipeline.task import Task, TaskSpec
from results.elsewhere import run_module
from results.sweeps import choose_trial, find_sweep, load_sweep, split_spec
from trainables import exported
from trainables.base import read_model

Answer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FaceModel:
    """A model of faces. Its checkpoint, if it has one, is loaded when it is first asked.

    Attributes:
        name: as people called it.
        described: what is known of it, with the keys of a checkpoint's model.json: always `feature_names`; `classes`,
            `groups` (class → labels), `preprocessing`, `fingerprint` where they are known.
    """

    name: str
    described: dict[str, Any]
    checkpoint: Path | None = None
    answer: Answer | None = None
    origin: dict[str, Any] = field(default_factory=dict)  # {sweep, trial} or {version}

    @property
    def classes(self) -> list[str] | None:
        """None: those of the task that it is judged on, in their order."""
        return self.described.get("classes")

    @property
    def features(self) -> Features:
        """What a task of it has as its `features`."""
        return kind(self.described["feature_names"])

    @property
    def groups(self) -> dict[str, list[str]] | None:
        """Class → labels that it stands for. Raises InputError if that is not known."""
        if self.classes is None or self.described.get("groups"):
            return self.described.get("groups")
        for name in self.classes:
            if name not in LABELS:
                raise InputError(f"{self.name}: which labels its class {name!r} stands for is not known to it")
        return {name: [name] for name in self.classes}

    @cached_property
    def loaded(self) -> Any:
        """What trainables.restore returned; None for a model without a checkpoint."""
        return trainables.restore(self.checkpoint) if self.checkpoint else None

    def task(self, data: Path, groups: dict[str, list[str]] | None) -> Task:
        """The task of judging this model on a dataset: what it sees of the faces of `groups`' labels."""
        spec = TaskSpec(features=self.features, classes=groups)
        return Task(data, spec, learned=False, feature_names=self.described["feature_names"])

    def fitted(self, x: np.ndarray) -> np.ndarray:
        """x as the model was fed it: faces (N, H, W) in the size that it learned; vectors as they are."""
        size = self.described.get("preprocessing", {}).get("image_size")
        if self.features != "pixels" or not size or x.shape[1:] == tuple(size):
            return x
        return np.stack([fit(face, (int(size[0]), int(size[1]))) for face in x])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N, F) float32 vectors or (N, H, W) uint8 faces → (N, C) probabilities. InputError where they are none."""
        if self.answer is None:
            return np.asarray(self.loaded.predict(x))
        found = np.asarray(self.answer(x), np.float64)
        wanted = f"(N, C) probabilities for {len(x)} faces"
        if found.ndim != 2 or len(found) != len(x):
            raise InputError(f"{self.name}: wanted {wanted}, but it answers with shape {found.shape}")
        if not np.isfinite(found).all() or (found < -1e-6).any() or not np.allclose(found.sum(axis=1), 1, atol=1e-3):
            raise InputError(f"{self.name}: wanted {wanted}, rows of which sum to 1, but it answers with other numbers")
        return found


def open_model(spec: str, home: Path) -> FaceModel:
    """The model called `spec`, see the top of this file. InputError where there is none, saying what would be one."""
    path = Path(spec)
    if (path / "model.json").is_file():
        return FaceModel(spec, read_model(path), path)
    if path.suffix == ".onnx":
        from results.onnx_model import read_onnx

        described, answer = read_onnx(path)
        return FaceModel(path.name, described, answer=answer)
    if path.suffix in exported.FORMATS:
        found = exported.open_exported(path)
        return FaceModel(path.name, found.model, answer=found.predict)
    if "/" in spec and "://" not in spec and ":" not in spec:
        raise InputError(f"{spec}: there is no checkpoint (a directory with model.json) and no .onnx file")
    name, colon, rest = spec.rpartition(":")
    if colon and not rest.isdigit() and "://" not in spec and not spec.startswith("models:"):
        return _callable(spec, name, rest)
    return _kept(spec, home)


def _kept(spec: str, home: Path) -> FaceModel:
    """A registered version, or a trial of a sweep."""
    from results import registry

    name, trial = split_spec(spec)
    alias = re.sub(r"^models:/\w+[@/]|^@", "", spec)
    if alias == spec and not spec.isdigit():
        sweeps = sorted(one.parent.name for one in (Path(home) / "sweeps").glob("*/sweep.json"))
        if name in sweeps or "://" in name:
            return _trial(name, trial, home)
        if not _is_alias(spec, home):
            known = f"sweeps: {', '.join(sweeps) or 'none'}"
            raise InputError(
                f"no model {spec!r} in {home}; {known}; or an alias, a version's number, a checkpoint's directory, FILE.onnx, "
                "FILE.py:FUNCTION"
            )
    client = registry.open_registry(home)
    version = registry.find_version(client, alias)
    checkpoint = registry.fetch(client, version)
    origin: dict[str, Any] = {"version": int(version.version)}
    if (Path(home) / "sweeps" / (sweep := version.tags.get("fersweep.sweep", "")) / "sweep.json").is_file():
        origin |= {"sweep": sweep, "trial": int(version.tags["fersweep.trial"])}
    return FaceModel(alias, read_model(checkpoint), checkpoint, origin=origin)


def _is_alias(name: str, home: Path) -> bool:
    from results import registry

    try:
        client = registry.open_registry(home)
    except InputError:
        return False
    return registry.holder(client, name) is not None


def _trial(name: str, number: int | None, home: Path) -> FaceModel:
    directory = find_sweep(home, name)
    sweep, record = load_sweep(directory)
    chosen, checkpoint = choose_trial(directory, sweep, record, number)
    described = read_model(checkpoint)
    described["groups"] = described.get("groups") or sweep["sweep"]["task"]["classes"] or {}  # an older checkpoint's
    origin = {"sweep": sweep["sweep"]["name"], "trial": chosen.number}
    return FaceModel(f"{origin['sweep']}:{chosen.number}", described, checkpoint, origin=origin)


def _callable(spec: str, place: str, name: str) -> FaceModel:
    """FILE.py:NAME or MODULE:NAME."""
    try:
        if place.endswith(".py"):
            found = importlib.util.spec_from_file_location(Path(place).stem, place)
            assert found is not None
            assert found.loader is not None
            module = importlib.util.module_from_spec(found)
            found.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        answer = getattr(module, name)
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


def answers_elsewhere(checkpoint: Path, x: np.ndarray, timed: int = 0) -> tuple[np.ndarray, float | None]:
    """What the model of a checkpoint answers, asked in a process of its own: TensorFlow and torch do not share one well.

    Returns:
        (N, C) probabilities of x (N, …); the median of `timed` answers to one face each, in seconds, None if 0.
    """
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory) / "x.npy", Path(directory) / "answers.npz"
        np.save(source, x)
        asked = f"{checkpoint}: the model could not be asked"
        run_module("results.models", Path(checkpoint).resolve(), source, target, timed, otherwise=asked)
        with np.load(target) as found:
            return found["probabilities"], float(found["latency_s"]) if timed else None


def _main(arguments: Sequence[str]) -> None:
    import time

    checkpoint, source, target, timed = arguments
    model, x = trainables.restore(Path(checkpoint)), np.load(source)
    probabilities, took = model.predict(x), []
    for i in range(int(timed)):
        start = time.perf_counter()
        model.predict(x[i % len(x)][None])
        took.append(time.perf_counter() - start)
    np.savez(target, probabilities=probabilities, latency_s=np.median(took) if took else np.nan)


if __name__ == "__main__":
    _main(sys.argv[1:])
