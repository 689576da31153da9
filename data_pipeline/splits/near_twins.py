"""Near twins: faces that are the same picture but for a watermark, a crop by a pixel, its contrast or a recompression.

    pairs = near_pairs(thumbnails)                # (N, 24, 24) uint8
    assign(…, pairs, …), find_near(pairs, splits)    # assign.py, twins.py

Two faces are near twins when their thumbnails correlate (Pearson) by `min_correlation` or more. On FER2013 all of 120
pairs looked at above .98 were the same photo, 80 of 80 from .95 to .98, some 36 of 40 at .92.
"""

# scipy has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fersweep.data_pipeline.splits.groups import first_rows

SIDE = 24  # pixels of a thumbnail
NUM_COMPONENTS = 16
SAMPLE_ROWS = 8192
PROJECT_ROWS = 16384
LEAF_ROWS = 256
COMPARE_ROWS = 32768
VERIFY_PAIRS = 8192
SLACK = 3e-3  # of a distance, for float32 projections


def near_pairs(thumbnails: np.ndarray, min_correlation: float = 0.98) -> np.ndarray:
    """Pairs of rows (P, 2) int64, i < j, of near twins: enough of them to link all that belong together.

    thumbnails (N, 24, 24) uint8, may be a memmap. Every pair returned correlates by `min_correlation`, and of every two
    faces that do, one can be reached from the other over the pairs; a crowd of n near twins has about n pairs, not n².
    Pictures with the same bytes are linked to their first. Constant pictures have no correlation.

    Standardised to mean 0 and length 1, pictures are |a - b|² = 2 (1 - r) apart. A projection on principal components
    (of a sample) only brings them nearer, so that every pair is among those that are near there (`near_points`); these
    are then correlated in full. About 400 bytes a face beside the thumbnails.
    """
    flat = thumbnails.reshape(len(thumbnails), SIDE * SIDE)
    first, varied = _distinct(flat)
    copies = np.flatnonzero(varied & (first != np.arange(len(flat))))
    near = [np.stack([first[copies], copies], axis=1)]
    rows = np.flatnonzero(varied & (first == np.arange(len(flat))))
    if len(rows) > 1:
        links = Links(len(rows))
        for candidates in near_points(_projected(flat, rows), math.sqrt(2 * (1 - min_correlation)) + SLACK):
            for begin in range(0, len(candidates), VERIFY_PAIRS):
                pairs = links.new(candidates[begin : begin + VERIFY_PAIRS])
                pairs = pairs[_correlation(flat, rows[pairs]) >= min_correlation]
                links.add(pairs)
                near.append(np.sort(rows[pairs], axis=1))
    return np.concatenate(near).astype(np.int64)


def _distinct(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row with the same bytes (N,) int64, and whether a picture has more than one value (N,) bool."""
    digests, varied = bytearray(), np.zeros(len(flat), bool)
    for start in range(0, len(flat), PROJECT_ROWS):
        block = np.ascontiguousarray(flat[start : start + PROJECT_ROWS])
        varied[start : start + PROJECT_ROWS] = block.min(axis=1) < block.max(axis=1)
        for picture in block:
            digests += hashlib.sha256(picture).digest()
    return first_rows(np.frombuffer(bytes(digests), "S32")), varied


def _projected(flat: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n, K) float32: the standardised pictures of `rows` on the leading principal components."""
    sample = _standardised(flat[rows[:: -(-len(rows) // SAMPLE_ROWS)]])
    axes = np.linalg.eigh(np.cov(sample, rowvar=False))[1][:, : -NUM_COMPONENTS - 1 : -1].astype(np.float32)
    points = np.empty((len(rows), axes.shape[1]), np.float32)
    for start in range(0, len(rows), PROJECT_ROWS):
        points[start : start + PROJECT_ROWS] = _standardised(flat[rows[start : start + PROJECT_ROWS]]) @ axes
    return points


def near_points(points: np.ndarray, radius: float) -> Iterator[np.ndarray]:
    """Pairs (p, 2) of `points` (n, K) at most `radius` apart, a batch at a time.

    The leaves of a k-d tree are blocks: a block is compared, in one matrix product, with the points of itself and of
    later blocks within `radius` of its bounding box. At these dimensions that is far faster than walking the
    tree for each point.
    """
    from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

    if len(points) < 2:
        return
    tree = cKDTree(points, leafsize=LEAF_ROWS)
    order = tree.indices
    ordered = points[order]
    starts = np.array(_leaf_starts(tree.tree))
    ends = np.append(starts[1:], len(order))
    low, high = np.minimum.reduceat(ordered, starts), np.maximum.reduceat(ordered, starts)
    half = -0.5 * np.einsum("nk,nk->n", ordered, ordered)
    ones = np.ones_like(half)
    left, right = np.column_stack([ordered, half, ones]), np.column_stack([ordered, ones, half])  # · is -|a - b|² / 2
    for leaf, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        gap = np.maximum(0, np.maximum(low[leaf:] - high[leaf], low[leaf] - high[leaf:]))
        touching = np.einsum("lk,lk->l", gap, gap) <= radius**2
        near = np.flatnonzero(np.repeat(touching, (ends - starts)[leaf:])) + start
        gap = ordered[near]
        gap -= np.clip(gap, low[leaf], high[leaf])
        near = near[np.einsum("nk,nk->n", gap, gap) <= radius**2]
        for begin in range(0, len(near), COMPARE_ROWS):
            others = near[begin : begin + COMPARE_ROWS]
            hits = np.flatnonzero(left[start:end] @ right[others].T >= -0.5 * radius**2)
            here, there = start + hits // len(others), others[hits % len(others)]
            yield order[np.stack([here, there], axis=1)[here < there]]


def _leaf_starts(node: Any) -> list[int]:
    if node.split_dim == -1:
        return [node.start_idx]
    return [*_leaf_starts(node.lesser), *_leaf_starts(node.greater)]


def _standardised(pictures: np.ndarray) -> np.ndarray:
    x = pictures.astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def _correlation(flat: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(P,) float64 Pearson correlation, of sums that are exact."""
    a, b = flat[pairs[:, 0]].astype(np.float64), flat[pairs[:, 1]].astype(np.float64)
    num = a.shape[1]

    def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return num * np.einsum("np,np->n", x, y) - x.sum(axis=1) * y.sum(axis=1)

    return product(a, b) / np.sqrt(product(a, a) * product(b, b))


class Links:
    """What is linked already (union-find over arrays): a pair within one group need not be compared."""

    def __init__(self, num: int):
        self._parent = np.arange(num)

    def new(self, pairs: np.ndarray) -> np.ndarray:
        """Those of `pairs` that are not linked yet."""
        return pairs[self._root(pairs[:, 0]) != self._root(pairs[:, 1])]

    def add(self, pairs: np.ndarray) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        if len(pairs) == 0:
            return
        roots, ends = np.unique(self._root(pairs.reshape(-1)), return_inverse=True)
        ends = ends.reshape(-1, 2)
        graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), (len(roots), len(roots)))
        _, group = connected_components(graph.tocsr(), directed=False)
        _, lowest = np.unique(group, return_index=True)
        self._parent[roots] = roots[lowest[group]]

    def _root(self, rows: np.ndarray) -> np.ndarray:
        while True:
            parents = self._parent[rows]
            if (parents == rows).all():
                return rows
            rows = parents
