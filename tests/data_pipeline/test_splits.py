"""Carving splits and finding twins."""

import numpy as np

from data_pipeline.splits import assign_splits, find_twins

SHARES = {"val_share": 0.1, "test_share": 0.1, "seed": 0}


def test_given_splits_are_kept():
    splits = ["train", "val", "test", "train"]
    assert assign_splits(list("abcd"), ["happy"] * 4, splits, **SHARES) == splits


def test_missing_splits_are_carved_stratified_and_seeded():
    labels = ["happy"] * 300 + ["sad"] * 100
    ids = [str(index) for index in range(400)]
    found = assign_splits(ids, labels, [None] * 400, **SHARES)
    for split in ("val", "test"):
        drawn = [label for label, where in zip(labels, found, strict=True) if where == split]
        assert (drawn.count("happy"), drawn.count("sad")) == (30, 10)
    assert found == assign_splits(ids, labels, [None] * 400, **SHARES)
    assert found != assign_splits(ids, labels, [None] * 400, **{**SHARES, "seed": 1})


def test_only_the_missing_split_is_carved():
    splits = ["train"] * 90 + ["val"] * 10
    found = assign_splits([str(index) for index in range(100)], ["sad"] * 100, splits, **SHARES)
    assert found[90:] == ["val"] * 10
    assert found.count("test") == 9


def test_twins_are_never_torn_apart():
    ids = [str(index) for index in np.random.default_rng(0).integers(0, 60, 400)]
    splits = ["val" if name in ("1", "2") and index > 200 else None for index, name in enumerate(ids)]
    found = assign_splits(ids, ["sad"] * 400, splits, **SHARES)
    where: dict[str, set[str]] = {}
    for name, split in zip(ids, found, strict=True):
        where.setdefault(name, set()).add(split)
    assert {name for name, splits in where.items() if len(splits) > 1} == {"1", "2"}  # given so by the source
    assert "test" not in where["1"] | where["2"]


def test_no_share_no_split():
    assert set(assign_splits(list("abc"), ["sad"] * 3, [None] * 3, val_share=0.0, test_share=0.0, seed=0)) == {"train"}


def test_the_higher_split_holds_a_twin():
    ids = ["a", "a", "a", "b", "b", "c", "a"]
    splits = ["train", "val", "test", "train", "train", "val", "test"]
    assert find_twins(ids, splits, list("0123456")) == ["2", "2", None, None, None, None, None]
