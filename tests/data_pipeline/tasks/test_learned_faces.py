"""Which faces a model learned, and which faces of other data are among them or are near twins of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.tasks.learned_faces import LearnedFaces, task_of
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from tests.datasets import write_tiny_dataset, write_with_faces_of


def learned_ids(task: Task, splits: Sequence[str]) -> LearnedFaces:
    return LearnedFaces.of(task, task.learned(splits))


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec(),
        TaskSpec(features="pixels", keep_twins=True),
        TaskSpec(classes={"happy": ["happy"], "sad": ["sad"]}, balance=20, fraction=0.5, seed=3),
        TaskSpec(fold=1, sources=["b"]),
    ],
    ids=["plain", "twins", "balanced", "fold"],
)
@pytest.mark.parametrize("with_val", [False, True], ids=["", "with_val"])
def test_they_are_those_of_the_arrays(tmp_path: Path, spec: TaskSpec, with_val: bool) -> None:
    folds, origins = (3, ["a", "b"]) if spec.fold is not None else (None, None)
    data = write_tiny_dataset(tmp_path / "tiny", 120, folds=folds, origins=origins)
    arrays = Task(data, spec).arrays(with_val)
    (record,) = arrays.learned
    assert record["splits"] == ["train", "val"][: 1 + with_val]
    faces = LearnedFaces.of(task_of(record, data), record)
    assert faces.has(arrays.train.face_ids).all()
    assert len(faces.ids) == len(set(arrays.train.face_ids))


def test_of_an_altered_copy_its_face_was_learned(tmp_path: Path) -> None:
    task = Task(write_tiny_dataset(tmp_path / "tiny", 120, augmented=True), TaskSpec(fraction=0.2))
    table, learned = open_table(task.dataset), task.arrays().train.face_ids
    ids, sources, changed = (table[name].to_pylist() for name in ("face_id", "source", "augmentation"))
    wanted = {source for name, source in zip(ids, sources, strict=True) if name in set(learned)}
    faces = {name for name, source, how in zip(ids, sources, changed, strict=True) if source in wanted and how is None}
    assert not faces <= set(learned), "of some a copy alone was drawn"
    assert set(learned_ids(task, ["train"]).ids) == {int(name[:16], 16) for name in faces}


def test_a_last_training_on_val_learns_no_twins_of_test(tmp_path: Path) -> None:
    data = write_tiny_dataset(tmp_path / "first", 120)
    pixels = Task(data, TaskSpec(features="pixels")).load("test").x
    twins = write_with_faces_of(tmp_path / "twins", {"test": pixels, "val": pixels[:4]})
    task = Task(twins, TaskSpec(features="pixels"))
    arrays = task.arrays(with_val=True)
    assert not set(arrays.train.face_ids) & set(task.load("test").face_ids)
    assert len(arrays.val.y) == task.num_faces("val") > 4, "val itself is whole"
    assert learned_ids(task, ["train", "val"]).seen(task, "test").num_same == 0
    older = {key: value for key, value in task.learned(["train", "val"]).items() if key != "without_twins"}
    assert LearnedFaces.of(task, older).seen(task, "test").num_same == 4
    kept = Task(twins, TaskSpec(features="pixels", keep_twins=True)).arrays(with_val=True).train
    assert set(kept.face_ids) > set(task.load("val").face_ids)


def test_the_same_pictures_and_near_twins_in_another_dataset(tmp_path: Path) -> None:
    task = Task(write_tiny_dataset(tmp_path / "first", 120))
    record = task.learned(["train"])
    everyone = Task(task.dataset, TaskSpec(features="pixels")).load("train")
    learned = everyone.x[np.isin(everyone.face_ids, task.load("train").face_ids)]
    darker = np.maximum(learned[3:5], 1) - 1
    other = Task(write_with_faces_of(tmp_path / "other", {"test": np.concatenate([learned[:3], darker])}))
    seen = learned_ids(task, ["train"]).seen(other, "test", [(task_of(record, task.dataset), record)])
    assert (seen.num_same, seen.num_near) == (3, 2)
    num = len(other.everyone("test")[0])
    assert np.flatnonzero(seen.faces).tolist() == list(range(num - 5, num))
    assert seen.sentence("the champion") == (
        f"5 of {num} faces of test may have been learned by the champion: 3 the same picture, 2 near twins; judged without them"
    )
    rest = other.without("test", seen.faces)
    assert rest.everyone("test")[2].tolist() == other.everyone("test")[2][: num - 5].tolist()
    assert len(rest.load("test").y) + len(rest.undetected("test")) == num - 5
    assert len(other.everyone("test")[0]) == num, "the task itself is as it was"
    away = learned_ids(task, ["train"]).seen(other, "test", lacking="first")
    assert (away.num_same, away.num_near, away.faces.sum()) == (3, None, 3)
    assert away.sentence().endswith("without them; near twins were not looked for: dataset first is not here")


def test_they_travel_with_the_model(tmp_path: Path, tiny_dataset: Path) -> None:
    faces, path = learned_ids(Task(tiny_dataset), ["train"]), tmp_path / "learned_faces.npy"
    faces.save(path)
    assert path.stat().st_size < 8 * len(faces.ids) + 200
    np.testing.assert_array_equal(LearnedFaces.read(path).ids, faces.ids)
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), faces.ids)


def with_header(header: str) -> Callable[[Path], object]:
    text = header.ljust(117) + "\n"
    return lambda path: path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\3\4"),
        lambda path: np.save(path, np.array([{}], object), allow_pickle=True),
        lambda path: np.save(path, np.array([2, 1], "<u8")),
        lambda path: np.save(path, np.zeros((2, 2), "<u8")),
        lambda path: np.save(path, np.array([0.5])),
        with_header("{'descr': '<u8', 'fortran_order': False, 'shape': (12000000000000,), }"),
        with_header("{'descr': '<u8', 'fortran_order': False, 'shape': (-1,), }"),
        with_header("[" * 110),
        lambda path: os.mkfifo(path),
        lambda path: None,
    ],
    ids=["empty", "zip", "pickle", "falling", "square", "floats", "huge", "negative", "deep", "fifo", "missing"],
)
def test_another_file_is_refused(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / "learned_faces.npy"
    damage(path)
    with pytest.raises(InputError, match=r"learned_faces\.npy: is no list of learned faces.*: promote the model anew$"):
        LearnedFaces.read(path)


def test_a_record_that_is_damaged_is_refused(tiny_dataset: Path) -> None:
    with pytest.raises(InputError, match=r"model.json: learned\.task\.fraction: Input should be"):
        task_of({"task": {"fraction": 7}}, tiny_dataset)
