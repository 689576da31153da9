"""Try a trainable of somebody's own before a sweep begins: its model is built once, for faces that are made up, in a process of
its own and without a GPU.

    notes = tried("my_model.py@3f2a9c81d0e4", points, arrays, fetched)

What is refused is a trainable that builds no model at any of the points: some may well fail alone. Nothing is trained:
`fersweep check trainable` does that.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import asked_as
from fersweep.common.own_code.importing import said, say, where
from fersweep.common.own_code.separate import TooLong, ask, reply, time_limit
from fersweep.common.processes import bounded_memory
from fersweep.common.text import one_line
from fersweep.data_pipeline.tasks.arrays import Arrays, TaskArrays, statistics
from fersweep.trainables.protocol import TrialFailed
from fersweep.trainables.short_form.adapted import ShortForm

WHAT = "trainable"
LIMIT_S = 120.0  # to build it
LOADING_S = 120.0  # more, to start and to import its framework
FACES = 20  # of each class
METHODS = ("fit", "predict", "save", "load")


def tried(name: str, points: Sequence[Mapping[str, Any]], arrays: TaskArrays, fetched: Mapping[str, str]) -> list[str]:
    """What is odd about its model, one line each. Raises InputError.

    points: hparams, which are tried in turn until a model is built. fetched: what its `fetch` gave.
    """
    code = copies.find(name, WHAT)
    say(code, WHAT)
    with tempfile.TemporaryDirectory(prefix="fersweep-") as place:
        copies.write(code, Path(place))
        request = {
            "place": place,
            "name": name,
            "points": list(points),
            "fetched": dict(fetched),
            "classes": arrays.classes,
            "feature_names": arrays.feature_names,
            "shape": arrays.train.x.shape[1:],
            "pixels": arrays.train.x.dtype == np.uint8,
            "preprocessing": arrays.preprocessing,
            "groups": arrays.groups,
            "has_votes": arrays.train.votes is not None,
            "taught": arrays.taught,
        }
        return ask(__name__, request, f"{WHAT}: {asked_as(name)}", LOADING_S + LIMIT_S)


def answer(request: Mapping[str, Any]) -> list[str]:
    """In the other process: what `tried` returns."""
    copies.note(Path(request["place"]))
    name, file, reasons = request["name"], asked_as(request["name"]), list[str]()
    trainables.expect(name, request["fetched"])
    arrays, memory = _made_up(request), list[str]()
    with warnings.catch_warnings(record=True) as heard, bounded_memory(sys.maxsize):
        warnings.simplefilter("always")
        for hparams in request["points"]:
            try:
                with time_limit(LIMIT_S):
                    _build(name, file, hparams, arrays)
                break
            except TooLong as error:
                raise InputError(f"{WHAT}: {file}: build: {error}{where(error)}") from None
            except (TrialFailed, MemoryError) as error:
                memory = [f"{file}: its model was not tried here, where a worker may do better: {one_line(error, 200)}"]
                break
            except (Exception, SystemExit) as error:
                own = isinstance(error, ValueError) and str(error).startswith(file)  # which says where
                reasons.append(one_line(error, 400) if own else f"{file}: build: {said(error)}")
    if len(reasons) == len(request["points"]):
        raise InputError(f"{WHAT}: {reasons[0]} (at each of {len(reasons)} sampled points no model is built)")
    odd = [str(each.message) for each in heard if str(each.message).startswith(f"{file}: ")]
    if reasons:
        odd.append(f"of {len(reasons) + 1} sampled points {len(reasons)} cannot be built: {reasons[0]}")
    return list(dict.fromkeys([*memory, *odd]))


def _build(name: str, file: str, hparams: dict[str, Any], arrays: TaskArrays) -> None:
    build = trainables.load(name).build
    short = isinstance(getattr(build, "__self__", None), ShortForm)
    model = build(hparams, arrays, 0, **({"weights": False} if short else {}))
    if lacking := [method for method in METHODS if not callable(getattr(model, method, None))]:
        raise ValueError(f"{file}: build gives a {type(model).__name__} without {', '.join(lacking)}")


def _made_up(request: Mapping[str, Any]) -> TaskArrays:
    """Noise, in the shape of the task's faces."""
    rng, num = np.random.default_rng(0), len(request["classes"])
    y = np.tile(np.arange(num, dtype=np.int32), FACES)
    shape = (len(y), *request["shape"])
    x = rng.integers(0, 256, shape, np.uint8) if request["pixels"] else rng.random(shape, np.float32)
    votes = np.eye(num, dtype=np.float32)[y] if request["has_votes"] else None
    part = Arrays(x, y, np.ones(len(y), np.float32), np.array([f"{row:064x}" for row in range(len(y))]), votes)
    of_train = statistics(x, y, num)
    return TaskArrays(
        train=part,
        val=part,
        classes=request["classes"],
        feature_names=request["feature_names"],
        fingerprint="0" * 64,
        preprocessing=request["preprocessing"],
        groups=request["groups"],
        taught=request["taught"],
        mean=of_train["mean"],
        std=of_train["std"],
        class_weight=of_train["class_weight"],
    )


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # GPUs are the trials'
    reply(answer)
