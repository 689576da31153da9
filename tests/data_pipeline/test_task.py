"""A task: classes, balance, twins, features and statistics."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from data_pipeline.errors import InputError
from data_pipeline.schema import BLENDSHAPES, LABELS, open_table, read_manifest, write_dataset
from data_pipeline.task import Task, TaskSpec
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
    kept = set(Task(tiny_dataset, TaskSpec(keep_twins=True)).load("train").face_ids)
    assert kept & ids["test"]


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
    one, same, other = (
        Task(tiny_dataset, TaskSpec(balance=30, seed=seed)).load("train").face_ids for seed in (1, 1, 2)
    )
    assert one.tolist() == same.tolist() != other.tolist()


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
    given = [{"happy": 6, "sad": 1, "neutral": 1, "angry": 2}, {"sad": 10}, {"fear": 10}]
    data = votes_dataset(tiny_dataset, tmp_path / "voted", dict(zip(rows, given, strict=True)))
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


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"classes": {"a": ["hapy"], "b": ["sad"]}},
            "classes.a: there is no label 'hapy'; there are happy, sad, neutral",
        ),
        ({"classes": {"a": ["happy", "sad"], "b": ["sad"]}}, "'sad' stands in 'a' and in 'b'"),
        ({"classes": {"a": ["happy"]}}, "two classes or more"),
        ({"classes": {"a": ["happy"], "b": []}}, "classes.b: no train face"),
        ({"balance": {"angry": 3}}, "task.balance: there is no label 'angry'"),
        ({"blendshapes": ["jawOpn"]}, "nearest name is 'jawOpen'"),
        ({"blendshapes": []}, "names must be given"),
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
