"""Mirror images and small rotations: near twins as augmenters make them, of a whole dataset in one search.

    pairs = turned_pairs(thumbnails)              # (N, 24, 24) uint8; as near_twins.near_pairs

Compared is the disk within a thumbnail, on rings: a rotation is then a shift along the rings, and whatever border filled the
corners lies outside. The Fourier coefficients of a ring keep their magnitudes when it is shifted or mirrored. So pictures
that are alike after some rotation, mirrored or not, have near magnitudes, and one search among these finds the candidates;
each is then correlated at every degree. On FER2013 all pairs looked at from .97 were the same photo; a laboratory's pictures
of one person are more alike than that.
"""

# Complex arrays have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import math

import numpy as np

from fersweep.data_pipeline.splits.near_twins import (
    PROJECT_ROWS,
    SAMPLE_ROWS,
    SIDE,
    SLACK,
    VERIFY_PAIRS,
    Links,
    near_points,
)

MIN_CORRELATION = 0.98
MAX_TURN = 15  # degrees
NUM_RINGS, NUM_SPOKES = 11, 64
NUM_FREQUENCIES = 12  # of each ring, in the search; all are in the correlation
NUM_COMPONENTS = 24
MIN_SPREAD = 1.0  # gray levels: the standard deviation of a disk that shows something

RADII = 0.5 + np.arange(NUM_RINGS)  # pixels of a thumbnail
WEIGHTS = np.repeat(np.sqrt(RADII / (NUM_SPOKES * RADII.sum())), NUM_SPOKES).astype(np.float32)  # each ring as its area


def turned_pairs(thumbnails: np.ndarray, min_correlation: float = MIN_CORRELATION) -> np.ndarray:
    """Pairs of rows (P, 2) int64, i < j, whose disks correlate when one is turned by up to MAX_TURN degrees, mirrored or not.

    thumbnails (N, 24, 24) uint8. As of `near_pairs`, enough of them to link all that belong together. About 100 bytes a face
    beside the thumbnails.
    """
    flat = thumbnails.reshape(len(thumbnails), SIDE * SIDE)
    rings = _ring_matrix()
    rows, points = _points(flat, rings)
    found = [np.empty((0, 2), np.int64)]
    links = Links(len(rows))
    for candidates in near_points(points, math.sqrt(2 * (1 - min_correlation)) + SLACK):
        for begin in range(0, len(candidates), VERIFY_PAIRS):
            pairs = links.new(candidates[begin : begin + VERIFY_PAIRS])
            a, b = (_coefficients(flat[rows[pairs[:, side]]], rings)[0] for side in (0, 1))
            pairs = pairs[_best_correlation(a, b) >= min_correlation]
            links.add(pairs)
            found.append(np.sort(rows[pairs], axis=1))
    return np.concatenate(found).astype(np.int64)


def _ring_matrix() -> np.ndarray:
    """(SIDE², NUM_RINGS · NUM_SPOKES) float32: values on the rings, each between its four pixels."""
    angles = 2 * np.pi * np.arange(NUM_SPOKES) / NUM_SPOKES
    centre = (SIDE - 1) / 2
    x, y = (centre + np.outer(RADII, turn(angles)).reshape(-1) for turn in (np.cos, np.sin))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    matrix, spots = np.zeros((SIDE * SIDE, len(x)), np.float32), np.arange(len(x))
    for right in (0, 1):
        for below in (0, 1):
            share = np.abs(1 - right - (x - left)) * np.abs(1 - below - (y - top))
            matrix[(top + below) * SIDE + left + right, spots] = share
    return matrix


def _coefficients(flat: np.ndarray, rings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fourier coefficients (n, NUM_RINGS, NUM_SPOKES / 2 + 1) complex64 of disks of mean 0 and length 1, and the standard
    deviations (n,) that they had, in gray levels. Real parts of products, summed, are correlations."""
    disks = (flat.astype(np.float32) @ rings) * WEIGHTS
    disks -= (disks @ WEIGHTS)[:, None] * WEIGHTS
    spreads = np.linalg.norm(disks, axis=1)
    disks /= np.maximum(spreads, 1e-6)[:, None]
    coefficients = np.fft.rfft(disks.reshape(-1, NUM_RINGS, NUM_SPOKES), axis=2, norm="ortho")
    coefficients[:, :, 1:-1] *= math.sqrt(2)  # each stands for two, except the first and the last
    return coefficients.astype(np.complex64), spreads


def _points(flat: np.ndarray, rings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) of disks that show something, and (n, K) float32: the magnitudes of each on their principal components."""

    def magnitudes(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        coefficients, spreads = _coefficients(pictures, rings)
        return np.abs(coefficients[:, :, :NUM_FREQUENCIES]).reshape(
            len(pictures), NUM_RINGS * NUM_FREQUENCIES
        ), spreads >= MIN_SPREAD

    sample, shows = magnitudes(flat[:: max(-(-len(flat) // SAMPLE_ROWS), 1)])
    if shows.sum() < 2:
        sample, shows = magnitudes(flat)
    if shows.sum() < 2:
        return np.empty(0, np.int64), np.empty((0, NUM_COMPONENTS), np.float32)
    axes = np.linalg.eigh(np.cov(sample[shows], rowvar=False))[1][:, : -NUM_COMPONENTS - 1 : -1].astype(np.float32)
    points: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    for start in range(0, len(flat), PROJECT_ROWS):
        block, shows = magnitudes(flat[start : start + PROJECT_ROWS])
        points.append(block[shows] @ axes)
        rows.append(start + np.flatnonzero(shows))
    return np.concatenate(rows), np.concatenate(points)


def _best_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(P,) float32: the largest over all turns, of b as it is and of its mirror image. a, b: coefficients (P, R, K)."""
    frequencies = np.arange(a.shape[2])
    turns = np.exp(1j * np.outer(frequencies, np.deg2rad(np.arange(-MAX_TURN, MAX_TURN + 1)))).astype(np.complex64)
    upright = np.einsum("prk,prk->pk", a, b.conj())
    mirrored = np.einsum("prk,prk->pk", a, b) * (-1.0) ** frequencies  # left and right swapped
    return np.real(np.stack([upright, mirrored]) @ turns).max(axis=(0, 2))
