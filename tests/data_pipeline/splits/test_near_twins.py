"""Near twins: as a comparison of all pairs finds them, and in bounded memory where thousands are alike."""

from __future__ import annotations

import numpy as np
import pytest

from fersweep.data_pipeline.splits.near_twins import near_pairs
from fersweep.data_pipeline.splits.twins import find_near


def pictures(num: int, seed: int = 0) -> np.ndarray:
    """(num, 24, 24) uint8, smooth and all different."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(size=(num, 6, 6)).repeat(4, axis=1).repeat(4, axis=2)
    smooth = rough + np.roll(rough, 1, 1) + np.roll(rough, 1, 2) + np.roll(rough, (1, 1), (1, 2))
    return np.clip(128 + 30 * smooth, 0, 255).astype(np.uint8)


def groups(pairs: np.ndarray, num: int) -> np.ndarray:
    """The last row that each row is linked with."""
    linked = find_near(pairs, np.zeros(num, np.int8))
    assert (linked == -1).all()  # no split outranks another
    named = np.arange(num)
    while True:
        before = named.copy()
        np.maximum.at(named, pairs[:, 0], named[pairs[:, 1]])
        np.maximum.at(named, pairs[:, 1], named[pairs[:, 0]])
        if (before == named).all():
            return named


@pytest.mark.parametrize("min_correlation", [0.9, 0.98])
def test_as_all_pairs_compared(min_correlation: float) -> None:
    faces = pictures(1500).astype(np.float64)
    rng = np.random.default_rng(1)
    for row in range(0, 1500, 5):  # noise of every strength around the threshold, contrast and brightness changed
        noisy = faces[row] + rng.normal(size=(24, 24)) * rng.uniform(0, 40)
        faces[row + 1] = 128 + rng.uniform(0.3, 1) * (noisy - 128) + rng.uniform(-20, 20)
    faces[7], faces[8] = 0, 0
    thumbnails = np.clip(faces, 0, 255).astype(np.uint8)
    pairs = near_pairs(thumbnails, min_correlation)

    x = thumbnails.reshape(1500, -1).astype(np.float64)
    with np.errstate(invalid="ignore"):  # the two constant ones
        r = np.triu(np.corrcoef(x), 1)
    expected = np.argwhere(r >= min_correlation)
    assert 50 < len(expected) < 295
    assert {tuple(pair) for pair in pairs.tolist()} <= {tuple(pair) for pair in expected.tolist()}
    assert (groups(pairs, 1500) == groups(expected, 1500)).all()


@pytest.mark.slow
def test_a_crowd_makes_a_star_not_a_square() -> None:
    crowd = np.concatenate([pictures(50), pictures(1, seed=9).repeat(3000, axis=0)])
    rng = np.random.default_rng(0)
    frames = np.clip(pictures(1, seed=8) + rng.normal(size=(3000, 24, 24)), 0, 255).astype(np.uint8)
    pairs = near_pairs(np.concatenate([crowd, frames]))
    copies = pairs[(pairs < 3050).all(axis=1)]
    assert copies.tolist() == [[50, row] for row in range(51, 3050)]
    assert len(pairs) < 3000 + 20_000
    assert (groups(pairs, 6050)[3050:] == 6049).all()


def test_few_faces_and_none() -> None:
    assert near_pairs(np.empty((0, 24, 24), np.uint8)).shape == (0, 2)
    assert near_pairs(pictures(1)).shape == (0, 2)
    assert near_pairs(np.zeros((3, 24, 24), np.uint8)).shape == (0, 2)
    assert near_pairs(pictures(1).repeat(3, axis=0)).tolist() == [[0, 1], [0, 2]]
    assert near_pairs(np.stack([pictures(1)[0], 255 - pictures(1)[0], pictures(1)[0] // 2])).tolist() == [[0, 2]]
