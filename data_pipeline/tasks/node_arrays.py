"""A task's arrays when they are large: made once a machine, as files that all of its processes map into memory.

    arrays = node_arrays.load(task)             # the driver; small ones are in memory, as from task.arrays()
    told = node_arrays.told(arrays)             # what its workers are told: small arrays themselves, or where to find them
    arrays = node_arrays.opened(told)           # a worker

So a worker is never sent more than SENT_BYTES, whatever the dataset: the rest it maps from its machine's disk, where the
dataset is staged (dataset/staged.py) and the arrays are made of it by the first process that asks (common/stores/node_cache.py).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.stores import node_cache
from fersweep.common.stores.buckets import name_of, resolved
from fersweep.data_pipeline.dataset.manifest import read_content
from fersweep.data_pipeline.dataset.staged import identity, manifest_of
from fersweep.data_pipeline.tasks.arrays import Arrays, Fold, TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Allocate, Task

SENT_BYTES = 128 * 2**20
"""Larger arrays are mapped. FER2013's pixels (84 MB) are sent (benchmarks/data/staging.py)."""

EACH_READS = "each machine reads a dataset of this size itself: it must be in a bucket, or on a path that all see"
PLAIN = ("classes", "feature_names", "fingerprint", "preprocessing", "groups", "learned")
STATISTICS = ("mean", "std", "class_weight")


@dataclass(frozen=True)
class NodeArrays:
    """Where a machine finds a task's arrays, or what it makes them of.

    Attributes:
        place: of the dataset: a bucket's address, or a path that every machine sees.
        dataset: its identity (dataset/staged.py).
        num_bytes: that they take.
        with_val: train is train and val together.
        votes, learned: of arrays that are taught (`TaskArrays.taught_by`); they are sent, a few bytes a face.
    """

    place: str
    dataset: str
    spec: TaskSpec
    feature_names: tuple[str, ...]
    num_bytes: int
    with_val: bool = False
    votes: np.ndarray | None = field(default=None, compare=False)
    learned: tuple[dict[str, Any], ...] = field(default=(), compare=False)

    @property
    def untaught(self) -> NodeArrays:
        """What is made of the dataset alone."""
        return replace(self, votes=None, learned=())

    @property
    def name(self) -> str:
        """Of the entry in the machine's cache."""
        content = {**asdict(self.untaught), "place": None, "spec": self.spec.model_dump(mode="json"), "code": _code()}
        return f"arrays-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]}"


@dataclass(frozen=True)
class MappedArrays(TaskArrays):
    """Arrays that are mapped from files. `source`: where another process or machine finds them."""

    source: NodeArrays | None = None


def load(task: Task, with_val: bool = False) -> TaskArrays:
    """The task's arrays: in memory, or mapped where they are larger than SENT_BYTES. `with_val`, errors: see `Task.arrays`."""
    num_bytes = task.num_bytes(with_val)
    if num_bytes <= SENT_BYTES:
        return task.arrays(with_val)
    dataset = identity(read_content(task.dataset))
    source = NodeArrays(str(resolved(task.place)), dataset, task.spec, tuple(task.feature_names), num_bytes, with_val)
    return _mapped(source, task)


def told(arrays: TaskArrays) -> TaskArrays | NodeArrays:
    """What a worker is told of the arrays."""
    if not isinstance(arrays, MappedArrays) or arrays.source is None:
        return arrays.without_val()
    if arrays.taught:
        return replace(arrays.source, votes=arrays.train.votes, learned=tuple(arrays.learned))
    return arrays.source


def opened(arrays: TaskArrays | NodeArrays) -> TaskArrays:
    """The arrays that a worker is told of. InputError where its machine does not find them, or not the same dataset."""
    if isinstance(arrays, TaskArrays):
        return arrays.with_val()
    try:
        mapped = _mapped(arrays.untaught, None)
    except (InputError, OSError, RuntimeError) as error:
        raise InputError(f"on {socket.gethostname()}: {error} ({EACH_READS})") from None
    return mapped if arrays.votes is None else mapped.taught_by(arrays.votes, arrays.learned)


def obstacle(arrays: TaskArrays | NodeArrays) -> str:
    """Why this machine could not open the arrays, in a line; "" where it finds the dataset, or needs none."""
    if isinstance(arrays, TaskArrays):
        return ""
    try:
        found = identity(manifest_of(arrays.place))
    except InputError as error:
        return f"{error} ({EACH_READS})"
    return "" if found == arrays.dataset else f"{arrays.place} is another dataset there ({EACH_READS})"


def _mapped(source: NodeArrays, task: Task | None) -> MappedArrays:
    """`task`: of the source, where there is one already."""

    def make(directory: Path) -> None:
        _make(source, task or Task(source.place, source.spec, feature_names=source.feature_names), directory)

    path = node_cache.entry(source.name, source.num_bytes, make, f"the task on {name_of(source.place)}")
    return _read(path, source)


def _make(source: NodeArrays, task: Task, directory: Path) -> None:
    """Write the arrays into files of their own, a part of the dataset at a time."""
    if identity(read_content(task.dataset)) != source.dataset:
        raise InputError(f"{source.place} is another dataset than the one that the sweep learns: it was changed since")
    print(f"making arrays of {source.place} on this machine: {directory.parent}", file=sys.stderr)

    def in_files(split: str) -> Allocate:
        return lambda name, shape, dtype: _new(directory / f"{split}.{name}.npy", shape, dtype)

    arrays = task.arrays(source.with_val, in_files)
    for number, fold in enumerate(arrays.folds):
        for name, values in vars(fold).items():
            np.save(directory / f"fold-{number}.{name}.npy", values)
    for split, part in (("train", arrays.train), *[("val", arrays.val)] * (not arrays.folds)):
        for name in ("y", "weight", "votes"):
            if (values := getattr(part, name)) is not None:
                np.save(directory / f"{split}.{name}.npy", values)
    for name in STATISTICS:
        np.save(directory / f"{name}.npy", getattr(arrays, name))
    plain = {name: getattr(arrays, name) for name in PLAIN}
    (directory / "task.json").write_text(json.dumps({**plain, "folds": len(arrays.folds)}))


def _new(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array in a new file. All of it is taken from the disk at once: a full one is an OSError here, and not the end of
    the process (SIGBUS) at the row that does not fit.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return np.asarray(array)


def _read(path: Path, source: NodeArrays) -> MappedArrays:
    def split(name: str) -> Arrays:
        found = {each.name: path / f"{name}.{each.name}.npy" for each in fields(Arrays)}
        mapped = {key: np.asarray(np.load(file, mmap_mode="r")) for key, file in found.items() if file.exists()}
        return Arrays(**mapped)

    plain: dict[str, Any] = json.loads((path / "task.json").read_bytes())
    statistics = {name: np.load(path / f"{name}.npy") for name in STATISTICS}
    folds = [
        Fold(**{each.name: np.load(path / f"fold-{number}.{each.name}.npy") for each in fields(Fold)})
        for number in range(plain.pop("folds"))
    ]
    if folds:
        train = split("train")
        arrays = MappedArrays(train=train, val=train, source=source, folds=folds, **statistics, **plain)
        return arrays.with_val()
    return MappedArrays(train=split("train"), val=split("val"), source=source, **statistics, **plain)


@functools.cache
def _code() -> str:
    """sha256 of the code that makes arrays: those of another version of it are not taken for its own."""
    digest, room = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(room.rglob("*.py")):
        digest.update(str(path.relative_to(room)).encode() + path.read_bytes())
    return digest.hexdigest()
