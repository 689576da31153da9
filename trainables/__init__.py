"""Model families that can be searched: one a file, loaded by name, so that a trial imports one framework only."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fersweep.common.errors import InputError, hint
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import is_own

if TYPE_CHECKING:
    from fersweep.data_pipeline.tasks.arrays import TaskArrays
    from fersweep.trainables.population import Points, Population
    from fersweep.trainables.protocol import Trainable

NAMES = {
    "blendshape_lstm": "fersweep.trainables.blendshape_lstm",
    "blendshape_dense": "fersweep.trainables.blendshape_dense",
    "pixel_mlp": "fersweep.trainables.pixel_mlp",
    "cnn": "fersweep.trainables.cnn",
    "transfer": "fersweep.trainables.transfer",
    "curve": "fersweep.trainables.curve",
}
DOUBLE = "curve"  # a stand-in for tests, which is offered to nobody


def framework(name: str) -> str:
    """ "tensorflow", "torch" or "numpy": what the trainable `name` is of. Own code is read, and not run. Raises ValueError."""
    if is_own(name):
        from fersweep.trainables import own

        return own.framework_of(copies.find(name, "trainable"))
    return load(name).FRAMEWORK


LOADS = {"tensorflow": ("fersweep.trainables.keras_training.loaded",), "torch": ("torch",), "numpy": ()}


def loads(name: str, fused: bool = False) -> tuple[str, ...]:
    """The modules whose import loads the framework of the trainable `name`, or of its populations. Raises ValueError."""
    return LOADS[load(name).FUSED_FRAMEWORK if fused else framework(name)]


def requirements(name: str) -> list[str]:
    """The installed distributions that the files of a trainable of somebody's own import."""
    from fersweep.trainables import own

    return own.requirements(name)


def more() -> dict[str, str]:
    """Modules from elsewhere, each a trainable and its space in one, by name: FERSWEEP_TRAINABLES lists them, with spaces."""
    return {dotted.rpartition(".")[2]: dotted for dotted in os.environ.get("FERSWEEP_TRAINABLES", "").split()}


def load(name: str) -> ModuleType:
    """The module of the trainable `name`. Raises ValueError with the nearest known name."""
    if is_own(name):
        from fersweep.trainables import own

        return own.load(name)
    known = NAMES | more()
    if name not in known:
        offered = [other for other in known if other != DOUBLE]
        raise ValueError(f"unknown trainable {name!r}: {hint(name, offered)}")
    return import_more(name) if name in more() else importlib.import_module(known[name])


def is_shipped(name: str) -> bool:
    """Whether it is one of ours, or of FERSWEEP_TRAINABLES; and not of somebody's own code."""
    return name in NAMES | more()


def resolve(name: str, beside: Path | None = None) -> str:
    """The name of a trainable as a sweep records it: of own code with its digits (own.py). Raises InputError.

    `beside`: the folder in which a file of code is looked for first.
    """
    if is_shipped(name):
        return name
    from fersweep.trainables import own

    if not is_own(name) and not name.endswith(".py") and "." not in name and name not in own.installed():
        offered = [other for other in (*NAMES, *more(), *own.installed()) if other != DOUBLE]
        raise InputError(
            f"trainable: unknown trainable {name!r}: {hint(name, offered)}; your own: FILE.py, package.module, or an entry point"
        )
    return own.resolve(name, beside)


def build(name: str, hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> Trainable:
    """A fresh model of the trainable `name`; of arrays with folds (`task.fold: all`), one a fold, side by side.

    Raises ValueError for hparams that are none, TrialFailed where it does not fit in memory.
    """
    if arrays.folds:
        from fersweep.trainables import folded

        return folded.build(load(name), hparams, arrays, seed)
    return load(name).build(hparams, arrays, seed)


def fuses(name: str) -> bool:
    """Whether the trainable `name` can train several models at once (population.py). Own code cannot."""
    return is_shipped(name) and hasattr(load(name), "build_fused")


def build_fused(name: str, points: Points, arrays: TaskArrays) -> Population:
    """A population of the trainable `name`, which `fuses`. Raises ValueError for hparams that are none."""
    return load(name).build_fused(points, arrays)


def expect(name: str, fetched: dict[str, str]) -> None:
    """Have the trainable take nothing else from outside than what its `fetch` gave when the sweep was launched."""
    module = load(name)
    if hasattr(module, "expect"):
        module.expect(fetched)


def import_more(name: str) -> ModuleType:
    """A module that FERSWEEP_TRAINABLES lists. Raises ValueError where it cannot be imported, or is no trainable."""
    dotted = more()[name]
    try:
        module = importlib.import_module(dotted)
    except Exception as error:  # it is somebody's code
        raise ValueError(
            f"FERSWEEP_TRAINABLES: {dotted} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if lacking := [part for part in ("space", "Hparams", "build", "restore") if not hasattr(module, part)]:
        raise ValueError(f"FERSWEEP_TRAINABLES: {dotted} is no trainable: it lacks {', '.join(lacking)}")
    return module


def frameworks_of(models: Iterable[dict[str, Any]]) -> set[str]:
    """The frameworks that models, and the members of ensembles, need, from their model.json; models without a trainable
    need none of ours.
    """
    parts = [part for model in models for part in model.get("members") or [model]]
    try:
        return {framework(part["trainable"]) for part in parts if "trainable" in part}
    except ValueError as error:
        raise InputError(f"model.json: {error}; put a copy of the checkpoint back") from None


def restore(directory: Path):
    """The trained model in a checkpoint directory, ready to predict. Raises InputError where it is none that can be opened."""
    from fersweep.trainables.saved_model import read_model

    directory = Path(directory)
    copies.note(directory)
    model = read_model(directory)
    if num := model.get("ensemble"):
        from fersweep.trainables.ensemble import Ensemble

        members = [directory / f"member-{index}" for index in range(num)]
        for member in members:
            copies.note(member)
        described = [read_model(member) for member in members]
        if any(member.get("ensemble") for member in described):
            raise InputError(f"{directory} is no checkpoint that can be opened: an ensemble of ensembles")
        for member, own in zip(model.get("members") or [], described, strict=False):
            alike = all(
                member.get(key) == own.get(key) for key in ("trainable", "hparams", "feature_names") if key in member
            )
            if not alike or own["classes"] != model["classes"]:
                raise InputError(f"{directory}: model.json is not of the members that are there: put a copy of it back")
        return Ensemble(model, [restore(member) for member in members])
    try:
        return load(model["trainable"]).restore(directory)
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        # weights of other shapes, hparams that are none: each framework says so in its own way
        what = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise InputError(f"{directory} is no checkpoint that can be opened ({what}): put a copy back") from error
