"""A task: classes, balance, twins, features and statistics."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import read_manifest, write_manifest
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.dataset.seal import write_dataset
from fersweep.data_pipeline.faces.geometry import EXPRESSIVE, normalised
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, LABELS
from tests.datasets import write_tiny_dataset


def test_blendshapes(tiny_dataset: Path):
    task = Task(tiny_dataset, TaskSpec())
    val = task.load("val")
    table = open_table(tiny_dataset, split="val")
    detected = table["detected"].to_numpy()
    assert task.classes == ["happy", "sad", "neutral"]  # canonical order
    assert val.x.shape == (detected.sum(), len(task.feature_names))
    assert (val.x.dtype, val.y.dtype, val.weight.dtype) == (np.float32, np.int32, np.float32)
    np.testing.assert_array_equal(val.x[:, 0], table[task.feature_names[0]].to_numpy()[detected])
    assert val.face_ids.tolist() == np.array(table["face_id"].to_pylist())[detected].tolist()
    assert len(task.undetected("val")) + len(val.y) == table.num_rows


def test_varying_drops_dead_scores(tiny_dataset: Path):
    assert Task(tiny_dataset, TaskSpec()).feature_names == list(BLENDSHAPES[:-4])
    assert Task(tiny_dataset, TaskSpec(blendshapes="all")).feature_names == list(BLENDSHAPES)
    assert Task(tiny_dataset, TaskSpec(blendshapes=["jawOpen", "browInnerUp"])).load("val").x.shape[1] == 2


def test_pixels_hold_undetected_faces_too(tiny_dataset: Path):
    task = Task(tiny_dataset, TaskSpec(features="pixels"))
    table = open_table(tiny_dataset, split="val")
    x = task.load("val").x
    assert (x.shape, x.dtype) == ((table.num_rows, 48, 48), np.uint8)
    assert x[3].tobytes() == table["pixels"][3].as_py()


def test_statistics_come_from_train(tiny_dataset: Path):
    for features in ("blendshapes", "pixels"):
        arrays = Task(tiny_dataset, TaskSpec(features=features)).arrays()
        axis = 0 if features == "blendshapes" else None
        np.testing.assert_allclose(arrays.mean, np.atleast_1d(arrays.train.x.mean(axis=axis)), rtol=1e-4)
        np.testing.assert_allclose(arrays.std, np.atleast_1d(arrays.train.x.std(axis=axis)), rtol=1e-4)
        assert len(arrays.mean) == len(arrays.feature_names)
        counts = np.bincount(arrays.train.y)
        np.testing.assert_allclose(arrays.class_weight, counts.sum() / (3 * counts), rtol=1e-6)
        assert arrays.fingerprint == read_manifest(tiny_dataset)["fingerprint"]
        assert arrays.preprocessing["image_size"] == [48, 48]
        assert arrays.preprocessing["border"] == 0.25


def test_twins_leave_train(tiny_dataset: Path):
    ids = {split: set(Task(tiny_dataset, TaskSpec()).load(split).face_ids) for split in ("train", "test")}
    assert not ids["train"] & ids["test"]
    with_twins = set(Task(tiny_dataset, TaskSpec(keep_twins=True)).load("train").face_ids)
    assert with_twins & ids["test"]


def test_classes_are_groups_of_labels(tiny_dataset: Path):
    task = Task(tiny_dataset, TaskSpec(classes={"joy": ["happy"], "other": ["sad", "neutral"]}))
    assert task.classes == ["joy", "other"]
    whole = Task(tiny_dataset, TaskSpec())
    np.testing.assert_array_equal(task.load("val").y, (whole.load("val").y > 0).astype(np.int32))
    fewer = Task(tiny_dataset, TaskSpec(classes={"sad": ["sad"], "happy": ["happy"]}))
    assert len(fewer.load("val").y) < len(whole.load("val").y)


def test_balance_caps_train_alone(tiny_dataset: Path):
    def counts(split: str, **spec) -> list[int]:
        return np.bincount(Task(tiny_dataset, TaskSpec(**spec)).load(split).y, minlength=3).tolist()

    assert counts("train", balance=50) == [50, 50, 50]
    assert counts("train", balance="smallest") == [min(counts("train"))] * 3
    happy, _, neutral = counts("train")
    assert counts("train", balance={"sad": 10}) == [happy, 10, neutral]
    assert counts("val", balance=5) == counts("val")


def test_balance_is_seeded(tiny_dataset: Path):
    first, same, other = (
        Task(tiny_dataset, TaskSpec(balance=30, seed=seed)).load("train").face_ids for seed in (1, 1, 2)
    )
    assert first.tolist() == same.tolist() != other.tolist()


def test_a_fraction_of_train_is_stratified_seeded_and_nested(tiny_dataset: Path):
    def faces(split: str = "train", **spec) -> list[str]:
        return Task(tiny_dataset, TaskSpec(**spec)).load(split).face_ids.tolist()

    for features in ("blendshapes", "pixels"):
        y = Task(tiny_dataset, TaskSpec(features=features)).load("train").y
        arrays = Task(tiny_dataset, TaskSpec(features=features, fraction=0.25)).arrays()
        assert np.bincount(arrays.train.y).tolist() == [round(0.25 * n) for n in np.bincount(y).tolist()]
        axis = 0 if features == "blendshapes" else None
        np.testing.assert_allclose(arrays.mean, np.atleast_1d(arrays.train.x.mean(axis=axis)), rtol=1e-4)
    whole, large, small, least = faces(), faces(fraction=0.5), faces(fraction=0.1), faces(fraction=1e-9)
    assert set(least) < set(small) < set(large) < set(whole)
    assert len(least) == 3
    assert large == [face for face in whole if face in set(large)]  # in the dataset's order
    assert large == faces(fraction=0.5) != faces(fraction=0.5, seed=1)
    assert set(faces(fraction=0.5, balance=20)) < set(faces(balance=20))
    assert faces("val", fraction=0.1) == faces("val")


def votes_dataset(tiny_dataset: Path, directory: Path, votes: dict[int, dict[str, float]]) -> Path:
    """tiny_dataset with the votes of some of its rows."""
    table = open_table(tiny_dataset)
    column = [[votes[row].get(label, 0) for label in LABELS] if row in votes else None for row in range(len(table))]
    index = table.schema.get_field_index("votes")
    table = table.set_column(index, table.schema.field("votes"), pa.array(column, type=pa.list_(pa.float32())))
    fields = {key: read_manifest(tiny_dataset)[key] for key in ("image_size", "landmarks", "sources", "options")}
    write_dataset(directory, [table.slice(0, 100), table.slice(100)], fields)
    return directory


def test_votes_are_summed_into_classes(tiny_dataset: Path, tmp_path: Path):
    splits = np.array(open_table(tiny_dataset)["split"].to_pylist())
    rows = np.flatnonzero(splits == "train")[[3, 40, 90]].tolist()  # in both parts
    votes = [{"happy": 6, "sad": 1, "neutral": 1, "angry": 2}, {"sad": 10}, {"fear": 10}]
    data = votes_dataset(tiny_dataset, tmp_path / "voted", dict(zip(rows, votes, strict=True)))
    classes = {"other": ["sad", "neutral"], "joy": ["happy"]}
    for features in ("blendshapes", "pixels"):
        task = Task(data, TaskSpec(features=features, classes=classes, keep_twins=True))
        train = task.load("train")
        assert train.votes is not None
        assert (train.votes.shape, train.votes.dtype) == ((len(train.y), 2), np.float32)
        expected = np.eye(2, dtype=np.float32)[train.y]  # those without votes, or with votes for other labels alone
        ids = np.array(open_table(data)["face_id"].to_pylist())
        expected[train.face_ids == ids[rows[0]]] = [0.25, 0.75]
        expected[train.face_ids == ids[rows[1]]] = [1, 0]
        np.testing.assert_allclose(train.votes, expected, rtol=1e-6)
        assert task.load("val").votes is None
        assert Task(tiny_dataset, TaskSpec(features=features)).load("train").votes is None


def dataset_with(tmp_path: Path, **options) -> Path:
    return write_tiny_dataset(tmp_path / "data", **options)


def test_landmarks(tmp_path: Path):
    data = dataset_with(tmp_path, landmarks=True)
    table = open_table(data, split="val")
    detected = table["detected"].to_numpy()
    stored = [np.frombuffer(buffer, np.float16).reshape(478, 3) for buffer in table["landmarks"].to_pylist() if buffer]
    points = normalised(np.stack(stored))
    landmarks, both = (Task(data, TaskSpec(features=features)) for features in ("landmarks", "blendshapes+landmarks"))
    assert len(landmarks.feature_names) == 2 * (len(EXPRESSIVE) - 2), "the eyes' corners always lie at the same place"
    assert both.feature_names == [*BLENDSHAPES[:-4], *landmarks.feature_names]
    val, val_of_both = landmarks.load("val"), both.load("val")
    assert (val.x.shape, val.x.dtype) == ((detected.sum(), len(landmarks.feature_names)), np.float32)
    np.testing.assert_allclose(val.x[:, landmarks.feature_names.index("landmark61y")], points[:, 61, 1], rtol=1e-6)
    np.testing.assert_array_equal(val_of_both.x[:, 48:], val.x)
    np.testing.assert_array_equal(val_of_both.x[:, 3], table[both.feature_names[3]].to_numpy()[detected])
    everything = Task(data, TaskSpec(features="landmarks", landmarks="all"))
    assert everything.load("val").x.shape[1] == 2 * 476
    assert landmarks.arrays().preprocessing["views"] == 4
    task = Task(data, TaskSpec(features="blendshapes+landmarks"), feature_names=["landmark17x", "jawOpen"])
    np.testing.assert_array_equal(task.load("val").x[:, 1], table["jawOpen"].to_numpy()[detected])


def test_informative_keeps_what_tells_the_classes(tmp_path: Path):
    data = dataset_with(tmp_path, landmarks=True)
    task = Task(data, TaskSpec(features="blendshapes+landmarks", informative=7))
    signals = [BLENDSHAPES[index] for index in (3, 4, 30, 31, 44, 45)]
    assert task.feature_names == [*signals, "landmark61y"]  # in their own order
    whole = Task(data, TaskSpec(features="landmarks", informative=999))
    assert whole.feature_names == Task(data, TaskSpec(features="landmarks")).feature_names


def test_folds_are_val_in_turns(tmp_path: Path):
    data = dataset_with(tmp_path, folds=3)
    every = [Task(data, TaskSpec(fold=fold, keep_twins=True)) for fold in range(3)]
    for task in every:
        train, val = (set(task.load(split).face_ids) for split in ("train", "val"))
        assert not train & val
        assert train | val == set().union(*(other.load("val").face_ids for other in every))
        np.testing.assert_array_equal(task.load("test").face_ids, every[0].load("test").face_ids)
        assert len(task.arrays(with_val=True).train.y) == len(train | val)
    judged = Task(data, TaskSpec(), learned=False)
    assert len(judged.load("test").y)
    for choose, message in (
        (lambda: Task(data, TaskSpec()), r"task.fold: .* has 3 folds; say which is val, 0 to 2"),
        (lambda: judged.load("val"), "has 3 folds"),
        (lambda: Task(data, TaskSpec(fold=3)), "has the folds 0 to 2, but got 3"),
    ):
        with pytest.raises(InputError, match=message):
            choose()


@pytest.mark.parametrize("folds", [None, 3])
def test_augmented_copies_are_learned_from_and_never_judged(folds: int | None, tmp_path: Path):
    data = dataset_with(tmp_path, augmented=True, folds=folds)
    fold = None if folds is None else 1

    def load(split: str, **spec) -> list[str]:
        return Task(data, TaskSpec(fold=fold, **spec)).load(split).face_ids.tolist()

    table = open_table(data)
    is_copy, ids = table["augmentation"].is_valid().to_numpy(), np.array(table["face_id"].to_pylist())
    copies = set(ids[is_copy])
    plain = load("train", augmented=False)
    assert len(load("train")) == 2 * len(plain)
    assert not copies & {*plain, *load("train", features="pixels")}
    assert copies & set(load("train", features="pixels", augmented=True))
    for split in ("val", "test"):
        assert not copies & {*load(split), *load(split, features="pixels", augmented=True)}
        assert not copies & set(Task(data, TaskSpec(fold=fold)).everyone(split)[2])
    if folds:  # a copy of a face of val is not learned from
        in_val = table["fold"].fill_null(-1).to_numpy() == fold
        assert not set(ids[in_val & is_copy]) & set(load("train"))


def test_sources_and_near_twins(tmp_path: Path):
    data = dataset_with(tmp_path, origins=["ck", "jaffe"])
    table = open_table(data)
    origin, ids = np.array(table["origin"].to_pylist()), np.array(table["face_id"].to_pylist())
    for split in ("train", "val", "test"):
        chosen = Task(data, TaskSpec(sources=["jaffe"], features="pixels")).load(split).face_ids
        assert set(origin[np.isin(ids, chosen)]) == {"jaffe"}
    whole = Task(data, TaskSpec()).load("train").face_ids
    fewer = Task(data, TaskSpec(drop_near_twins=True)).load("train").face_ids
    near = ids[table["near_duplicate_of"].is_valid().to_numpy()]
    assert set(whole) - set(fewer) == set(near) & set(whole) != set()
    wrong: list[tuple[list[str], str]] = [
        (["affectnet"], "no source 'affectnet'; it has ck, jaffe"),
        ([], "the list is empty"),
    ]
    for sources, message in wrong:
        with pytest.raises(InputError, match=message):
            Task(data, TaskSpec(sources=sources))


def test_ready_made_blendshapes(tmp_path: Path):
    data = dataset_with(tmp_path, pixels=False)
    task = Task(data, TaskSpec())
    assert task.load("val").x.shape[1] == 48
    assert "image_size" not in task.arrays().preprocessing
    with pytest.raises(InputError, match="no pixels"):
        task.pictures("val", [0])
    manifest = read_manifest(data)
    write_manifest(data, {**manifest, "blendshapes": ["jawOpen", "mouthSmileLeft"], "landmarks": None})
    assert Task(data, TaskSpec(blendshapes="all")).feature_names == ["jawOpen", "mouthSmileLeft"]
    assert Task(data, TaskSpec()).arrays().preprocessing == {}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"blendshapes": ["browInnerUp"]}, "has no browInnerUp; it has jawOpen, mouthSmileLeft"),
        ({"features": "pixels"}, "ready-made blendshapes and has no pixels; use features: blendshapes"),
        ({"features": "landmarks"}, "has no landmarks; prepare it with --landmarks"),
    ]
    for spec, message in wrong:
        with pytest.raises(InputError, match=message):
            Task(data, TaskSpec(**spec))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"classes": {"a": ["hapy"], "b": ["sad"]}},
            "classes.a: there is no label 'hapy'; did you mean 'happy'?",
        ),
        ({"classes": {"a": ["happy", "sad"], "b": ["sad"]}}, "'sad' is in 'a' and in 'b'"),
        ({"classes": {"a": ["happy"]}}, "two classes or more"),
        ({"classes": {"a": ["happy"], "b": []}}, "classes.b: no train face"),
        ({"balance": {"angry": 3}}, "task.balance: there is no label 'angry'"),
        ({"blendshapes": ["jawOpn"]}, "nearest name is 'jawOpen'"),
        ({"blendshapes": []}, "names must be given"),
        ({"features": "landmarks"}, "has no landmarks; prepare it with --landmarks"),
        ({"features": "pixels", "informative": 3}, "task.informative"),
        ({"fold": 0}, "has no folds"),
        ({"sources": ["ck"]}, "no source 'ck'; it has none by name"),
    ],
)
def test_wrong_specs(spec: dict, message: str, tiny_dataset: Path):
    with pytest.raises(InputError, match=message):
        Task(tiny_dataset, TaskSpec(**spec)).load("train")


@pytest.mark.parametrize(
    "spec",
    [
        {"balance": 0},
        {"feature": "pixels"},
        {"blendshapes": "most"},
        {"varying_min": 2},
        {"fraction": 0},
        {"fraction": 1.1},
        {"features": "landmark"},
        {"fold": -1},
        {"informative": 0},
    ],
)
def test_wrong_values(spec: dict):
    with pytest.raises(ValidationError):
        TaskSpec(**spec)


def test_no_val_faces(tmp_path: Path):
    full = write_tiny_dataset(tmp_path / "full")
    fields = {key: read_manifest(full)[key] for key in ("image_size", "landmarks", "sources", "options")}
    write_dataset(tmp_path / "train_only", open_table(full, split="train"), fields)
    with pytest.raises(InputError, match="has no val faces"):
        Task(tmp_path / "train_only", TaskSpec()).arrays()
    with pytest.raises(InputError, match="split 'dev'"):
        Task(full, TaskSpec()).load("dev")
