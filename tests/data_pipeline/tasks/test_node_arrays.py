"""Large arrays: made once a machine and mapped, and the same to the bit as those in memory."""

from __future__ import annotations

import mmap
import pickle
import re
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from fersweep.common.errors import InputError
from fersweep.common.stores import node_cache
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import Arrays, TaskArrays
from fersweep.data_pipeline.tasks.node_arrays import NodeArrays, load, obstacle, opened, told
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from tests.datasets import write_tiny_dataset


@pytest.fixture(autouse=True)
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All arrays are, and the cache is empty."""
    monkeypatch.setattr(node_arrays, "SENT_BYTES", 0)
    monkeypatch.setenv("FERSWEEP_STAGED", str(tmp_path / "staged"))


def check_same(mapped: TaskArrays, expected: TaskArrays) -> None:
    for split in ("train", "val"):
        for field in fields(Arrays):
            ours, theirs = (getattr(getattr(arrays, split), field.name) for arrays in (mapped, expected))
            assert (ours is None) == (theirs is None)
            if ours is not None:
                assert ours.dtype == theirs.dtype
                assert np.array_equal(ours, theirs), field.name
    for name in node_arrays.STATISTICS:
        assert getattr(mapped, name).tobytes() == getattr(expected, name).tobytes(), name
    for name in node_arrays.PLAIN:
        assert getattr(mapped, name) == getattr(expected, name)


@pytest.mark.parametrize("with_val", [False, True], ids=["", "with_val"])
@pytest.mark.parametrize("features", ["blendshapes", "pixels", "blendshapes+landmarks"])
def test_a_worker_gets_the_same_arrays(tmp_path: Path, features: str, with_val: bool) -> None:
    dataset = write_tiny_dataset(tmp_path / "tiny", 120, landmarks=True, folds=3, augmented=True)
    task = Task(dataset, TaskSpec(features=features, fold=1, balance="smallest"))  # pyright: ignore[reportArgumentType]
    expected, mapped = task.arrays(with_val), load(task, with_val)
    check_same(mapped, expected)
    source = told(mapped)
    assert isinstance(source, NodeArrays)
    assert len(pickle.dumps(source)) < 4096, "what a worker is sent"
    again = opened(source)
    check_same(again, expected)
    base = again.train.x
    assert not base.flags.writeable
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert isinstance(base, mmap.mmap)


def test_votes_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_dataset: Path) -> None:
    votes = np.eye(3, dtype=np.float32)
    monkeypatch.setattr("fersweep.data_pipeline.tasks.task.class_votes", lambda _, y, *rest: votes[y])
    mapped = load(Task(tiny_dataset))
    assert mapped.train.votes is not None
    assert np.array_equal(mapped.train.votes, votes[mapped.train.y])


def test_small_arrays_are_sent_as_they_are(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(tiny_dataset)
    arrays = task.arrays()
    parts = [part for split in (arrays.train, arrays.val) for part in (split.x, split.y, split.weight, split.face_ids)]
    votes_bytes = 4 * len(arrays.classes) * (len(arrays.train.y) + len(arrays.val.y))  # there may be votes
    assert task.num_bytes() == sum(part.nbytes for part in parts) + votes_bytes
    monkeypatch.setattr(node_arrays, "SENT_BYTES", task.num_bytes())
    arrays = load(task)
    assert told(arrays) is opened(arrays) is arrays
    assert arrays.train.x.flags.writeable


def test_a_machine_that_has_another_dataset_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write_tiny_dataset(tmp_path / "tiny", 120)
    source = told(load(Task(dataset)))
    monkeypatch.setenv("FERSWEEP_STAGED", str(tmp_path / "of another machine"))
    assert obstacle(source) == ""
    shutil.rmtree(dataset)
    assert re.search(
        r"tiny is no finished dataset.* \(each machine reads a dataset of this size itself", obstacle(source)
    )
    with pytest.raises(
        InputError, match=r"on \S+: .*tiny is no finished dataset.* it must be in a bucket, or on a path that"
    ):
        opened(source)
    write_tiny_dataset(dataset, 120, seed=1)
    assert "tiny is another dataset there" in obstacle(source)
    with pytest.raises(InputError, match="tiny is another dataset than the one that the sweep learns"):
        opened(source)
    assert not [path for path in (tmp_path / "of another machine").iterdir() if not path.name.startswith(".")]


def test_other_code_makes_arrays_of_its_own(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = told(load(Task(tiny_dataset)))
    assert isinstance(source, NodeArrays)
    before = source.name
    monkeypatch.setattr(node_arrays, "_code", lambda: "newer")
    assert source.name != before


def test_arrays_that_were_changed_are_made_anew(tiny_dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    task = Task(tiny_dataset)
    source = told(load(task))
    assert isinstance(source, NodeArrays)
    opened(source)
    assert capfd.readouterr().err.count("making arrays") == 1
    path = node_cache.directory() / source.name / "train.y.npy"
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\7")
    check_same(opened(source), task.arrays())
    assert capfd.readouterr().err.count("making arrays") == 1
