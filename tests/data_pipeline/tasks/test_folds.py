"""`fold: all`: the faces of all folds once; what a fold's model learns from comes from its own train alone."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.dataset.schema import make_rows
from fersweep.data_pipeline.dataset.seal import write_dataset
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import Arrays, TaskArrays
from fersweep.data_pipeline.tasks.learned_faces import LearnedFaces, task_of
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from tests.datasets import FIELDS, write_tiny_dataset

SPECS = [
    {},
    {"features": "pixels", "keep_twins": True},
    {"balance": 10, "informative": 10, "drop_near_twins": True},
    {"fraction": 0.3, "augmented": False, "features": "blendshapes+landmarks"},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "tiny"
    return write_tiny_dataset(path, 180, folds=3, augmented=True, landmarks=True, origins=["a"])


def check_same(ours: TaskArrays, theirs: TaskArrays) -> None:
    for split in ("train", "val"):
        for field in fields(Arrays):
            a, b = (getattr(getattr(arrays, split), field.name) for arrays in (ours, theirs))
            assert (a is None) == (b is None)
            np.testing.assert_array_equal(a, b)
    for name in ("mean", "std", "class_weight"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), name
    for name in node_arrays.PLAIN:
        assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize("spec", SPECS, ids=["plain", "pixels", "informative", "fraction"])
def test_each_fold_is_to_the_bit_what_it_is_alone(
    spec: dict[str, Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, alone = Task(data, TaskSpec(fold="all", **spec)), [Task(data, TaskSpec(fold=k, **spec)) for k in range(3)]
    whole = task.arrays()
    assert np.shares_memory(whole.train.x, whole.val.x), "the faces are there once"
    assert len(set(whole.train.face_ids)) <= len(whole.train.y)
    assert sorted(np.concatenate([fold.val for fold in whole.folds]).tolist()) == list(range(len(whole.val.y)))
    np.testing.assert_array_equal(whole.val.face_ids, task.load("val").face_ids)
    sent = node_arrays.told(whole)
    assert isinstance(sent, TaskArrays)
    assert len(sent.val.y) == 0
    here = node_arrays.opened(pickle.loads(pickle.dumps(sent)))
    monkeypatch.setattr(node_arrays, "SENT_BYTES", 0)
    monkeypatch.setenv("FERSWEEP_STAGED", str(tmp_path))
    mapped = node_arrays.opened(node_arrays.told(node_arrays.load(task)))
    assert isinstance(mapped, node_arrays.MappedArrays)
    for number, one in enumerate(alone):
        expected = one.arrays()
        for arrays in (whole, here, mapped):
            check_same(arrays.of_fold(number), expected)


def test_a_fold_knows_nothing_of_its_own_faces(data: Path, tmp_path: Path) -> None:
    """A score that only faces of fold 2 have, and far greater values there: fold 2 neither sees nor standardises by them."""
    table, dead = open_table(data), BLENDSHAPES[-1]
    in_fold = table["fold"].fill_null(-1).to_numpy() == 2
    names = [name for name in table.column_names if name not in ("face_id", "pixels", "landmarks", *BLENDSHAPES)]
    x = np.stack([table[name].to_numpy() for name in BLENDSHAPES], axis=1).astype(np.float32)
    x[in_fold, -1] = np.linspace(0.5, 1, int(in_fold.sum()))
    x[in_fold, 0] = 1.0
    columns: dict[str, Any] = {
        name: table[name].to_pylist() for name in names if name in ("source", "split", "label", "fold")
    }
    columns["duplicate_of"] = [None] * table.num_rows
    content = {key: value for key, value in read_manifest(data).items() if key in (*FIELDS, "folds")}
    rows = [make_rows(None, blendshapes=x, pixels=None, **columns)]
    write_dataset(tmp_path / "odd", rows, {**content, "image_size": None, "has": {"pixels": False}})
    task = Task(tmp_path / "odd", TaskSpec(fold="all"))
    folds = [task.arrays().of_fold(number) for number in range(3)]
    assert [dead in fold.feature_names for fold in folds] == [True, True, False]
    assert dead in task.feature_names
    place = folds[2].feature_names.index(BLENDSHAPES[0])
    assert folds[2].mean[place] == folds[2].train.x[:, place].mean(dtype=np.float64).astype(np.float32)
    assert folds[0].mean[folds[0].feature_names.index(BLENDSHAPES[0])] > 0.1 + folds[2].mean[place]


def test_no_face_of_a_fold_is_learned_by_its_model_nor_is_a_copy(data: Path) -> None:
    table = open_table(data)
    of_id: dict[str, set[int]] = {}
    for name, fold in zip(table["face_id"].to_pylist(), table["fold"].fill_null(-1).to_pylist(), strict=True):
        of_id.setdefault(name, set()).add(fold)
    arrays = Task(data, TaskSpec(fold="all")).arrays()
    for number in range(3):
        fold = arrays.of_fold(number)
        assert not {number, -1} & set().union(*(of_id[name] for name in fold.train.face_ids))
        assert all(number in of_id[name] for name in fold.val.face_ids)


@pytest.mark.parametrize("with_val", [False, True], ids=["folds", "refit"])
def test_what_is_learned_is_said(with_val: bool, data: Path) -> None:
    arrays = Task(data, TaskSpec(fold="all", balance=10)).arrays(with_val)
    (record,) = arrays.learned
    faces = LearnedFaces.of(task_of(record, data), record)
    learned = [arrays.train.y] if with_val else [arrays.train.y[fold.train] for fold in arrays.folds]
    assert [len(y) for y in learned] == [30] * (1 if with_val else 3)
    table = open_table(data)
    plain = {
        i for i, how in zip(table["face_id"].to_pylist(), table["augmentation"].to_pylist(), strict=True) if not how
    }
    rows = (
        np.arange(len(arrays.train.y)) if with_val else np.unique(np.concatenate([fold.train for fold in arrays.folds]))
    )
    assert faces.has([name for name in arrays.train.face_ids[rows] if name in plain]).all()
    assert not faces.has(Task(data, TaskSpec(fold=0)).load("test").face_ids).any()


def test_a_part_of_the_faces_keeps_the_folds(data: Path) -> None:
    """As `plan` tries trials with."""
    whole = Task(data, TaskSpec(fold="all")).arrays()
    rows = np.sort(np.random.default_rng(0).choice(len(whole.train.y), 60, replace=False))
    part = whole.part(rows)
    np.testing.assert_array_equal(part.train.face_ids, whole.train.face_ids[rows])
    for fold, before in zip(part.folds, whole.folds, strict=True):
        assert set(part.train.face_ids[fold.val]) <= set(whole.train.face_ids[before.val])
        assert not set(fold.val.tolist()) & set(fold.train.tolist())
    assert len(part.val.y) == sum(len(fold.val) for fold in part.folds)


def test_what_cannot_be_learned_fold_by_fold_is_refused(data: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"task.fold: .* has no folds \(`prepare --folds 10` makes them\)"):
        Task(tiny_dataset, TaskSpec(fold="all"))
    with pytest.raises(InputError, match="say which is val, 0 to 2, or all"):
        Task(data, TaskSpec())
    table = open_table(data)
    rare = table["label"].to_numpy().astype(str) == "sad"
    content = {key: value for key, value in read_manifest(data).items() if key in (*FIELDS, "folds")}
    fold = table["fold"].fill_null(-1).to_numpy()
    for name, keep, message in (
        (
            "class",
            ~rare | (fold == 1) | (fold < 0),
            r"task.classes.sad: no train face .* is left for fold 1 with a label",
        ),
        ("val", fold != 2, "task.fold: fold 2 of .* has no face"),
    ):
        write_dataset(tmp_path / name, [table.filter(keep)], content)
        with pytest.raises(InputError, match=message):
            Task(tmp_path / name, TaskSpec(fold="all"))
