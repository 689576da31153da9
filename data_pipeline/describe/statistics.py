"""The figures of a dataset's page: what scores say about the class, how they correlate, where the pixels of classes differ.

    information(x, y, num_classes)                      # (F,) nats: which scores to look at first
    grid = BrightnessGrid(3, num_classes=2); grid.add(faces, y); grid.auc(0, 1)

Shapes: N faces, F scores, C classes, B bins. NaN is a score that a face lacks; it is left out of that score's figures alone.
To choose something by these figures, give them faces of train alone.
"""

# scikit-learn has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fersweep.data_pipeline.tasks.features import NUM_BINS, mutual_information

DEAD_BELOW = 0.05  # a score that stays below it on all of train is hardly informative; task.varying_min's default


def class_entropy(y: np.ndarray) -> float:
    """Entropy of the classes y (N,) in nats: the mutual information of a score that determines the class."""
    shares = np.bincount(y) / max(len(y), 1)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum()) + 0.0


def information(x: np.ndarray, y: np.ndarray, num_classes: int) -> np.ndarray:
    """(F,) nats: mutual information of each score of x (N, F) and the class y (N,), over the faces that have the score.

    By the same `features.mutual_information` `task.informative` chooses.
    """
    known = ~np.isnan(x)
    if known.all() and len(x):
        return mutual_information(x, y, num_classes)
    columns = [
        mutual_information(x[rows, index : index + 1], y[rows], num_classes)[0] if rows.any() else 0.0
        for index, rows in enumerate(known.T)
    ]
    return np.array(columns)


def information_noise(num_faces: int, num_classes: int) -> float:
    """Nats that a score independent of the class seems to have on average: (bins - 1)(classes - 1) / 2N (Miller 1955,
    "Note on the bias of information estimates")."""
    return (NUM_BINS - 1) * (num_classes - 1) / (2 * max(num_faces, 1))


def pair_information(x: np.ndarray, y: np.ndarray, num_bins: int = 8) -> list[tuple[float, int, int]]:
    """(nats, i, j) of all pairs i < j of scores of x (N, F) together, the most informative first.

    Each score is cut into `num_bins` bins of about equally many faces; faces without one of the F scores are left out.
    """
    rows = ~np.isnan(x).any(axis=1)
    y = y[rows]
    edges = np.arange(1, num_bins) / num_bins
    bins = [np.searchsorted(np.quantile(column, edges), column, side="right") for column in x[rows].T] if len(y) else []
    pairs = [(_nats(bins[i] * num_bins + bins[j], y), i, j) for j in range(len(bins)) for i in range(j)]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))


def _nats(bins: np.ndarray, y: np.ndarray) -> float:
    """Mutual information of bins (N,) and classes (N,)."""
    num_classes = int(y.max()) + 1
    joint = np.bincount(bins * num_classes + y, minlength=(int(bins.max()) + 1) * num_classes)
    share = joint.reshape(-1, num_classes) / len(y)
    apart = share.sum(axis=1, keepdims=True) * share.sum(axis=0)
    seen = share > 0
    return float((share[seen] * np.log(share[seen] / apart[seen])).sum())


def correlations(x: np.ndarray) -> np.ndarray:
    """(F, F) Pearson correlations of the scores x (N, F); NaN where one of the two does not vary."""
    import pandas as pd

    return pd.DataFrame(x).corr(min_periods=3).to_numpy(np.float32)


def class_correlations(x: np.ndarray, y: np.ndarray, num_classes: int) -> np.ndarray:
    """(F, C) correlation of each score of x (N, F) with "is of this class" (0 or 1); NaN where one of them does not vary."""
    together = np.concatenate([x, np.eye(num_classes, dtype=x.dtype)[y]], axis=1)
    return correlations(together)[: x.shape[1], x.shape[1] :]


def dead_scores(x: np.ndarray, below: float = DEAD_BELOW) -> np.ndarray:
    """(F,) bool: the scores of x (N, F) whose maximum is less than `below`, or that do not vary at all."""
    if not len(x):
        return np.zeros(x.shape[1], bool)
    known = ~np.isnan(x)
    high, low = np.where(known, x, -np.inf).max(axis=0), np.where(known, x, np.inf).min(axis=0)
    return (high < below) | (high <= low)


def densities(x: np.ndarray, y: np.ndarray, num_classes: int, edges: np.ndarray) -> np.ndarray:
    """(F, C, B) float32 shares of each class's faces whose score is in each of the B bins between `edges`; the values
    beyond them count in the outermost bins."""
    shares = np.zeros((x.shape[1], num_classes, len(edges) - 1), np.float32)
    for index in range(x.shape[1]):
        rows = ~np.isnan(x[:, index])
        bins = np.clip(np.searchsorted(edges, x[rows, index], side="right") - 1, 0, len(edges) - 2)
        counts = np.bincount(y[rows] * shares.shape[2] + bins, minlength=shares[index].size).reshape(
            shares[index].shape
        )
        shares[index] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def principal_plane(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two directions in which standardised scores vary most: ((N, 2) places, (2, F) directions, (2,) shares of variance).

    x: (N, F) without NaN. A score that does not vary counts for nothing. The largest part of a direction is positive.
    """
    std = x.std(axis=0, dtype=np.float64)
    z = (x - x.mean(axis=0, dtype=np.float64)) / np.where(std > 0, std, 1)
    values, vectors = np.linalg.eigh(z.T @ z / max(len(z), 1))
    directions = vectors[:, ::-1][:, :2].T
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])
    directions = directions * signs[:, None]
    return z @ directions.T, directions, np.maximum(values[::-1][:2], 0) / max(values.sum(), 1e-12)


def neighbour_map(x: np.ndarray, seed: int) -> np.ndarray:
    """(N, 2) places by t-SNE (van der Maaten & Hinton 2008) of standardised scores x (N, F) without NaN; N ≥ 4.

    All in one place where no score varies.
    """
    from sklearn.manifold import TSNE

    std = x.std(axis=0)
    z = (x - x.mean(axis=0))[:, std > 1e-7] / std[std > 1e-7]
    if not z.shape[1]:
        return np.zeros((len(x), 2))
    perplexity = min(30, (len(z) - 1) / 3)
    return TSNE(init="random", random_state=seed, perplexity=perplexity, max_iter=750).fit_transform(z)


def lanczos_weights(side: int, num_cells: int) -> np.ndarray:
    """(num_cells, side) float32: the weights with which Pillow's Lanczos filter shrinks a line of pixels."""
    from PIL import Image

    lines = Image.fromarray(np.eye(side, dtype=np.float32))
    return np.asarray(lines.resize((side, num_cells), Image.Resampling.LANCZOS))


def shrink(faces: np.ndarray, num_cells: int) -> np.ndarray:
    """faces (N, H, W) uint8 as num_cells × num_cells pixels: (N, n, n) uint8, Pillow's Lanczos, across first."""
    height, width = faces.shape[1:]
    across = _rounded(faces.astype(np.float32) @ lanczos_weights(width, num_cells).T)
    return _rounded(lanczos_weights(height, num_cells) @ across)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.float32)


class BrightnessGrid:
    """How well the brightness of each cell of faces shrunk to n×n separates two classes; faces are added batch by batch.

    Every cell has a histogram of its 256 values for each class, so the AUC is exact and memory does not grow with N.
    """

    def __init__(self, num_cells: int, num_classes: int):
        self.num_cells = num_cells
        self.counts = np.zeros((num_classes, num_cells * num_cells, 256), np.int64)

    def add(self, faces: np.ndarray, y: np.ndarray) -> None:
        """faces (N, H, W) uint8 of classes y (N,)."""
        values = shrink(faces, self.num_cells).reshape(len(faces), -1).astype(np.int32)
        cells = np.arange(values.shape[1], dtype=np.int32) * 256
        for label in np.unique(y):
            seen = np.bincount((values[y == label] + cells).reshape(-1), minlength=cells.size * 256)
            self.counts[label] += seen.reshape(self.counts[label].shape)

    def auc(self, first: int, second: int) -> np.ndarray:
        """(n, n) float32: probability that a face of class `second` is brighter there than one of class `first`, ties half.

        The area under the ROC curve of the cell's brightness as a score for `second` (Hanley & McNeil 1982); NaN where a
        class has no face.
        """
        low, high = (self.counts[index].astype(np.float64) for index in (first, second))
        totals = low[0].sum() * high[0].sum()
        if not totals:
            return np.full((self.num_cells, self.num_cells), np.nan, np.float32)
        darker = np.cumsum(low, axis=1) - low / 2
        return ((darker * high).sum(axis=1) / totals).reshape(self.num_cells, -1).astype(np.float32)


def wilson(part: int, whole: int, z: float = 1.96) -> tuple[float, float]:
    """Bounds of the 95 % interval of a share (Wilson 1927); (0, 1) of nothing."""
    if not whole:
        return 0.0, 1.0
    share, correction = part / whole, z * z / whole
    middle, half = share + correction / 2, z * np.sqrt(share * (1 - share) / whole + correction / (4 * whole))
    return max(0.0, float((middle - half) / (1 + correction))), min(1.0, float((middle + half) / (1 + correction)))


def spread_sample(groups: np.ndarray, num_each: int, seed: int = 0) -> np.ndarray:
    """Rows, at most `num_each` of every group in groups (N,), drawn with `seed`, sorted by group and then by row."""
    rng = np.random.default_rng(seed)
    samples: list[np.ndarray] = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        samples.append(np.sort(rng.permutation(rows)[:num_each]))
    return np.concatenate(samples) if samples else np.zeros(0, np.int64)


def quantiles(x: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """(len(at), F) quantiles of the scores x (N, F), NaN of a score that no face has."""
    known = ~np.isnan(x)
    columns = [
        np.quantile(x[rows, index], at) if rows.any() else np.full(len(at), np.nan)
        for index, rows in enumerate(known.T)
    ]
    return np.array(columns).T
