"""Near twins: as a comparison of all pairs finds them, and in bounded memory where thousands are alike."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fersweep.data_pipeline.splits.near_twins import near_pairs
from fersweep.data_pipeline.splits.turned_twins import turned_pairs
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
    assert turned_pairs(np.empty((0, 24, 24), np.uint8)).shape == (0, 2)
    assert turned_pairs(np.full((3, 24, 24), 7, np.uint8)).shape == (0, 2)
    assert turned_pairs(pictures(1).repeat(2, axis=0)).tolist() == [[0, 1]]


BORDERS = {"black": cv2.BORDER_CONSTANT, "edge": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT_101}


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("turn", [-15, -7, 0, 10])
def test_mirror_images_and_rotations(turn: int, is_mirrored: bool, border: str) -> None:
    """As augmenters make them of faces of 48 pixels; other pictures are no twins, nor is what was turned further."""
    faces = np.array([cv2.resize(face, (48, 48), interpolation=cv2.INTER_CUBIC) for face in pictures(100)])

    def turned(face: np.ndarray, degrees: float) -> np.ndarray:
        face = np.ascontiguousarray(face[:, ::-1]) if is_mirrored else face
        matrix = cv2.getRotationMatrix2D((23.5, 23.5), degrees, 1)
        return cv2.warpAffine(face, matrix, (48, 48), flags=cv2.INTER_LINEAR, borderMode=BORDERS[border])

    copies = [turned(face, turn) for face in faces[:50]] + [turned(face, 30) for face in faces[50:60]]
    every = [cv2.resize(face, (24, 24), interpolation=cv2.INTER_AREA) for face in [*faces, *copies]]
    pairs = turned_pairs(np.array(every))
    assert pairs.tolist() == [[row, 100 + row] for row in range(50)]
