"""Draws of faces with replacement, and of whole clusters of faces: a person's, or twins (data_pipeline/tasks/clusters.py).

Clusters that count alike are one pattern, so that a draw of clusters is a multinomial draw of patterns. Shapes: N faces,
C classes, P patterns, K columns that are counted.
"""

# scipy has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
BATCH_BYTES = 64 * 2**20
FEW = 20  # clusters; with fewer even a corrected interval is rough


def resample(counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """(resamples, C, C + 1) counts of as many draws of the N faces with replacement; counts (C, C) or (C, C + 1).

    A draw of faces is a multinomial draw of the cells that they fall in, so no index is ever made
    (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13: percentile intervals). Answers that are no class
    with faces are drawn as the last column: the same answers give the same draws, whether the counts have a row for
    classes without faces or not.
    """
    num_classes, num_faces = len(counts), int(counts.sum())
    seen = np.flatnonzero(counts.sum(axis=1))
    own = counts[np.ix_(seen, seen)]
    cells = np.column_stack([own, counts[seen].sum(axis=1) - own.sum(axis=1)])
    drawn = np.random.default_rng(seed).multinomial(num_faces, cells.ravel() / num_faces, size=resamples)
    draws = np.zeros((resamples, num_classes, num_classes + 1), np.int64)
    place = np.ix_(np.arange(resamples), seen, np.append(seen, num_classes))
    draws[place] = drawn.reshape(resamples, *cells.shape)
    return draws


@dataclass(frozen=True)
class Patterns:
    """What clusters count: counts (P, K) float64, and by how many clusters each pattern is had, number (P,)."""

    counts: np.ndarray
    number: np.ndarray

    @property
    def num_clusters(self) -> int:
        return int(self.number.sum())

    def resample(self, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
        """(resamples, K) counts of as many draws of all clusters with replacement."""
        rng, counts = np.random.default_rng(seed), self.counts.astype(np.float32)  # whole numbers, below 2 ** 24
        sizes = batches(resamples, max(len(self.number), self.num_clusters))
        return np.concatenate([(self._draw(rng, size) @ counts).astype(np.float64) for size in sizes])

    def _draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """(size, P) float32: how often each pattern is drawn."""
        num_patterns, num = len(self.number), self.num_clusters
        if num > 8 * num_patterns:  # a binomial draw of each takes as long as eight indices
            return rng.multinomial(num, self.number / num, size=size).astype(np.float32)
        drawn = np.repeat(np.arange(num_patterns), self.number)[rng.integers(0, num, (size, num), np.int32)]
        drawn += num_patterns * np.arange(size)[:, None]
        return np.bincount(drawn.ravel(), minlength=size * num_patterns).reshape(size, -1).astype(np.float32)


def patterns(columns: np.ndarray, key: np.ndarray, clusters: np.ndarray, num_columns: int) -> Patterns:
    """The patterns of clusters (N,) of faces, of which each adds one to each of its columns.

    Args:
        columns: (k, N) in [0, num_columns]; the last counts nothing.
        key: (N,) integers, the same where all columns are.
    """
    _, place, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    alone = sizes[place] == 1
    _, first, number = np.unique(key[alone], return_index=True, return_counts=True)
    single = _counted(columns[:, alone][:, first], np.arange(len(first)), len(first), num_columns)
    _, place = np.unique(place[~alone], return_inverse=True)
    num = int(place.max(initial=-1)) + 1
    several = _counted(columns[:, ~alone], place, num, num_columns)
    return Patterns(np.concatenate([single, several]), np.concatenate([number, np.ones(num, np.int64)]))


def _counted(columns: np.ndarray, place: np.ndarray, num: int, num_columns: int) -> np.ndarray:
    """(num, num_columns) float64."""
    width = num_columns + 1
    cells = np.bincount((place * width + columns).ravel(), minlength=num * width)
    return cells.reshape(num, width)[:, :num_columns].astype(np.float64)


def batches(resamples: int, width: int) -> Iterator[int]:
    """Sizes of batches of resamples, each of a row of `width` numbers, that fit into BATCH_BYTES."""
    most = max(1, BATCH_BYTES // (8 * max(1, width)))
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def are_faces(clusters: np.ndarray) -> bool:
    """Each cluster is one face."""
    return len(np.unique(clusters)) == len(clusters)


def bounds(drawn: np.ndarray, num_clusters: int | None, whole: tuple[float, float]) -> tuple[float, float]:
    """The 95 % percentile interval of resampled scores (resamples,); of one cluster alone nothing is known: `whole`.

    Of few clusters the percentiles lie too near: they are moved outwards by the t distribution and by n / (n - 1)
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", expanded percentile interval).

    num_clusters: None: faces were drawn, and the percentiles are 2.5 and 97.5.
    """
    if num_clusters == 1:
        return whole
    tail = 2.5 if num_clusters is None else _tail(num_clusters)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)


def _tail(num: int) -> float:
    """Percent."""
    from scipy.stats import norm, t

    return float(100 * norm.cdf(-np.sqrt(num / (num - 1)) * t.ppf(0.975, num - 1)))
