"""Boosted trees as checkpoints hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from fersweep import trainables
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task

HPARAMS: dict[str, Any] = {
    "backbone": "mobilenetv3_small_100", "weights": "none", "image_size": 32, "head": "trees", "trees_per_epoch": 4, "tree_leaves": 8,
}  # fmt: skip
TWO = {"happy": ["happy"], "other": ["sad", "neutral"]}


@pytest.mark.parametrize("classes", [None, TWO], ids=["three", "two"])
def test_a_restored_model_answers_as_scikit_learn(classes: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    arrays = Task(tiny_dataset, TaskSpec(features="pixels", classes=classes)).arrays()
    trained: Any = trainables.load("transfer").build(HPARAMS, arrays, 0)
    trained.fit(2)
    trained.save(tmp_path)
    expected = trained._trees.predict_proba(trained._extractor(arrays.val.x))
    assert expected.std(axis=0).min() > 0.01
    answers = trainables.restore(tmp_path).predict(arrays.val.x)
    np.testing.assert_allclose(answers, expected, atol=1e-6)


@pytest.mark.parametrize("num_outputs", [1, 3], ids=["two classes", "three classes"])
def test_a_checkpoint_with_trees_as_arrays_is_read(num_outputs: int, tiny_dataset: Path, tmp_path: Path) -> None:
    """Its trees have one split each, but for the last one, which is a leaf."""
    arrays = Task(tiny_dataset, TaskSpec(features="pixels")).arrays()
    trained: Any = trainables.load("transfer").build(HPARAMS, arrays, 0)
    trained.fit(1)
    trained.save(tmp_path)
    features = trained._extractor(arrays.val.x)

    num_trees, rng = 2 * num_outputs, np.random.default_rng(0)
    split = rng.integers(0, features.shape[1], num_trees - 1)
    threshold = np.median(features, axis=0)[split].astype(np.float64)
    below, above = rng.normal(size=(2, num_trees - 1))
    last, baseline = 0.7, rng.normal(size=num_outputs)
    each = np.where(features[:, split] <= threshold, below, above)
    each = np.concatenate([each, np.full((len(features), 1), last)], axis=1)
    raw = baseline + each.reshape(-1, 2, num_outputs).sum(axis=1)
    expected = softmax(np.concatenate([0 * raw, raw], axis=1) if num_outputs == 1 else raw, axis=1)

    def of_nodes(root: Any, left: Any, right: Any, leaf: Any, dtype: type) -> np.ndarray:
        splits = np.broadcast_arrays(root, left, right, below)[:3]
        return np.append(np.stack(splits, axis=1).ravel(), leaf).astype(dtype)

    forest = {
        "baseline": baseline,
        "sizes": np.array([3] * (num_trees - 1) + [1]).reshape(2, num_outputs),
        "value": of_nodes(0, below, above, last, np.float64),
        "feature_idx": of_nodes(split, 0, 0, 0, np.int64),
        "num_threshold": of_nodes(threshold, 0, 0, 0, np.float64),
        "left": of_nodes(1, 0, 0, 0, np.uint32),
        "right": of_nodes(2, 0, 0, 0, np.uint32),
        "is_leaf": of_nodes(0, 1, 1, 1, np.uint8),
    }
    with np.load(tmp_path / "state.npz") as archive:
        state = {name: archive[name] for name in archive.files if name != "trees"}
    np.savez(tmp_path / "state.npz", **state, **{f"trees.{name}": value for name, value in forest.items()})

    restored = trainables.restore(tmp_path)
    np.testing.assert_allclose(restored.predict(arrays.val.x), expected, atol=1e-6)
    trained.load(tmp_path)  # which grows its own again
    assert trained.fit(1)[0]["epoch"] == 2
    restored.save(tmp_path / "again")
    np.testing.assert_array_equal(
        trainables.restore(tmp_path / "again").predict(arrays.val.x), restored.predict(arrays.val.x)
    )
