"""Carving splits, dealing folds, finding twins: what belongs together is never torn, and each label gets its share."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest

from fersweep.common.errors import InputError
from fersweep.data_pipeline.splits.assign import assign
from fersweep.data_pipeline.splits.groups import group
from fersweep.data_pipeline.splits.twins import find_near, find_twins

NO_PAIRS = np.empty((0, 2), np.int64)
TRAIN, VAL, TEST = 0, 1, 2


def ids_of(names: Any) -> np.ndarray:
    return np.frombuffer(b"".join(hashlib.sha256(str(name).encode()).digest() for name in names), "S32")


class Faces(NamedTuple):
    ids: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    subjects: np.ndarray
    pairs: np.ndarray


def plain(labels: list[int], splits: list[int] | None = None) -> Faces:
    """Faces without twins, subjects or near twins."""
    num = len(labels)
    given = np.full(num, -1, np.int8) if splits is None else np.array(splits, np.int8)
    return Faces(ids_of(range(num)), np.array(labels, np.int8), given, np.full(num, -1, np.int32), NO_PAIRS)


def random_faces(seed: int, given: str) -> Faces:
    """600 faces of 4 labels with twins, near twins and 40 subjects; `given`: "none", "train", "test" or "all" splits."""
    rng = np.random.default_rng(seed)
    num = 600
    subjects = rng.integers(0, 40, num).astype(np.int32)
    names = np.where(rng.random(num) < 0.15, subjects * 1000, np.arange(num) + 10**6)  # twins are of one person
    order = np.argsort(subjects, kind="stable")
    pairs = np.concatenate(
        [np.stack([order[:-1], order[1:]], axis=1)[::12], rng.integers(0, 30, (3, 2))]
    )  # join persons
    options = {"none": [-1], "train": [0], "test": [0, 0, 0, 2, -1], "all": [0, 0, 0, 1, 2, -1]}[given]
    splits = rng.choice(np.array(options, np.int8), num)
    return Faces(ids_of(names), rng.choice(4, num, p=[0.5, 0.3, 0.15, 0.05]).astype(np.int8), splits, subjects, pairs)


def slow_groups(faces: Faces, by_subject: bool) -> list[int]:
    """`group`, by naming everything that a face belongs with the same until nothing changes."""
    named = list(range(len(faces.ids)))
    while True:
        before = list(named)
        lowest: dict[Any, int] = {}
        for _ in range(2):
            for row, (name, subject) in enumerate(zip(faces.ids.tolist(), faces.subjects.tolist(), strict=True)):
                for key in (name, subject) if by_subject else (name,):
                    named[row] = lowest[key] = min(lowest.get(key, row), named[row])
        for one, other in faces.pairs.tolist():
            named[one] = named[other] = min(named[one], named[other])
        if named == before:
            numbers = {first: number for number, first in enumerate(dict.fromkeys(named))}
            return [numbers[first] for first in named]


WAYS = list(
    itertools.product(["none", "train", "test", "all"], ["auto", "official", "subject", "stratified"], [None, 5])
)


@pytest.mark.parametrize(("given", "by", "folds"), [way for way in WAYS if way[:2] != ("none", "official")])
def test_no_twin_no_near_twin_and_no_subject_crosses_what_is_carved(given: str, by: str, folds: int | None) -> None:
    for seed in range(3):
        faces = random_faces(seed, given)
        splits, dealt = assign(*faces, by=by, folds=folds, seed=seed)  # pyright: ignore[reportArgumentType]
        kept = faces.splits if by in ("auto", "official") else np.full(600, -1)
        by_subject = by != "stratified"
        groups = group(faces.ids, faces.pairs, faces.subjects if by_subject else None)
        carved = [split for split in (VAL, TEST) if not (kept == split).any()]
        assert groups.tolist() == slow_groups(faces, by_subject)
        before = np.maximum(kept, 0)
        for members in (np.flatnonzero(groups == number) for number in range(groups.max() + 1)):
            moved = members[before[members] == TRAIN]  # whom the source leaves in train: together they go or stay
            assert len(set(splits[moved].tolist())) <= 1
            assert dealt is None or len(set(dealt[members].tolist()) - {-1}) <= 1
        assert (splits[before == TEST] == TEST).all()
        assert folds or (splits[before == VAL] == VAL).all()
        held = find_near(faces.pairs, before) >= 0
        held |= find_twins(faces.ids, before) >= 0
        assert (splits[held & (before == TRAIN)] == TRAIN).all()
        largest = np.bincount(groups).max()
        if given in ("none", "train") and folds is None:
            for split in carved:
                assert abs((splits == split).sum() - 60) <= largest
        if dealt is not None:
            pool = splits != TEST
            assert (dealt[pool] >= 0).all()
            assert (dealt[~pool] == -1).all()
            assert (splits[pool] == TRAIN).all()
            for label, fold in itertools.product(range(4), range(5)):
                mine = (faces.labels == label) & pool
                assert abs((mine & (dealt == fold)).sum() - mine.sum() / 5) <= max(2, largest / 4)
        again, dealt_again = assign(*faces, by=by, folds=folds, seed=seed)  # pyright: ignore[reportArgumentType]
        assert (again == splits).all()
        assert np.array_equal(np.array(dealt_again), np.array(dealt))


def test_given_splits_are_kept_and_only_the_missing_one_is_carved():
    assert assign(*plain([3] * 4, [0, 1, 2, -1]))[0].tolist() == [0, 1, 2, 0]
    found = assign(*plain([3] * 100, [0] * 90 + [1] * 10))[0]
    assert found[90:].tolist() == [VAL] * 10
    assert np.bincount(found).tolist() == [81, 10, 9]


def test_missing_splits_are_carved_stratified_and_seeded():
    faces = plain([3] * 300 + [4] * 100)
    found, _ = assign(*faces)
    for split in (VAL, TEST):
        assert np.bincount(faces.labels[found == split]).tolist() == [0, 0, 0, 30, 10]
    assert (found == assign(*faces, seed=0)[0]).all()
    assert (found != assign(*faces, seed=1)[0]).any()


def test_the_seeds_of_the_first_release_give_the_same_splits():
    faces = plain([0, 1, 1, 2] * 30)._replace(ids=ids_of([index % 110 for index in range(120)]))
    found, _ = assign(*faces, seed=3)
    assert np.flatnonzero(found == VAL).tolist() == [2, 11, 15, 25, 26, 42, 63, 76, 81, 84, 96, 112]
    assert np.flatnonzero(found == TEST).tolist() == [10, 18, 20, 23, 28, 58, 78, 87, 88, 90, 94, 99]


def test_test_is_the_same_with_and_without_folds():
    faces = random_faces(0, "none")
    assert ((assign(*faces)[0] == TEST) == (assign(*faces, folds=3)[0] == TEST)).all()


def test_folds_without_groups_are_balanced_to_one_face():
    faces = plain([0] * 333 + [1] * 101 + [2] * 7)
    splits, folds = assign(*faces, folds=10, test_share=0.0)
    assert folds is not None
    assert (splits == TRAIN).all()
    table = np.array([np.bincount(faces.labels[folds == fold], minlength=3) for fold in range(10)])
    assert (np.ptp(table, axis=0) <= 1).all()
    assert np.ptp(table.sum(axis=1)) <= 1


def test_ten_persons_make_three_splits():
    faces = plain([index % 7 for index in range(210)])._replace(subjects=np.repeat(np.arange(10, dtype=np.int32), 21))
    splits, _ = assign(*faces)
    assert np.bincount(splits).tolist() == [168, 21, 21]


def test_persons_are_kept_whole_beside_faces_of_nobody_known():
    subjects = np.repeat(np.arange(20, dtype=np.int32), 20)
    subjects[::2] = -1
    splits, folds = assign(*plain([index % 5 for index in range(400)])._replace(subjects=subjects), folds=4)
    assert folds is not None
    for person in range(20):
        assert len(set(zip(splits[subjects == person], folds[subjects == person], strict=True))) == 1
    assert np.bincount(splits).tolist() == [360, 0, 40]


def test_a_group_larger_than_the_share_stays_in_train():
    faces = plain([0] * 100)._replace(ids=ids_of([0] * 50 + list(range(50))))
    splits, _ = assign(*faces)
    assert np.bincount(splits).tolist() == [80, 10, 10]
    assert set(splits[:51].tolist()) == {TRAIN}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "person"}, "split by 'person' is unknown"),
        ({"by": "official"}, "no source has splits"),
        ({"by": "subject"}, "4 of 4 faces have no subject"),
        ({"folds": 1}, "folds: must lie in 2–100"),
        ({"folds": 5}, "5 folds need as many groups"),
    ],
)
def test_what_cannot_be_had_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        assign(*plain([0] * 4), **options)


def test_the_higher_split_holds_a_twin():
    splits = np.array([TRAIN, VAL, TEST, TRAIN, TRAIN, VAL, TEST])
    assert find_twins(ids_of("aaabbca"), splits).tolist() == [2, 2, -1, -1, -1, -1, -1]
    assert find_near(np.array([[0, 1], [1, 4], [2, 3]]), splits).tolist() == [1, -1, -1, 2, 1, -1, -1]


def test_ids_that_differ_in_their_last_byte_only_are_two():
    ids = np.frombuffer(bytes(31) + b"\0" + bytes(31) + b"\1" + bytes(32), "S32")
    assert find_twins(ids, np.array([TRAIN, TEST, VAL])).tolist() == [2, -1, -1]
