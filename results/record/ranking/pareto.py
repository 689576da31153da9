"""Which of several trials no other is better than, where there are several objectives.

Shapes: N trials, M objectives; `modes` has "max" or "min" for each objective. Values are finite. A trial dominates another if it
is no worse in all objectives, and better in one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def losses(values: np.ndarray, modes: Sequence[str]) -> np.ndarray:
    """(N, M) values → (N, M) float64 of which less is better."""
    signs = np.array([-1.0 if mode == "max" else 1.0 for mode in modes])
    return np.asarray(values, dtype=np.float64).reshape(-1, len(modes)) * signs


def non_dominated_ranks(values: np.ndarray, modes: Sequence[str]) -> np.ndarray:
    """(N,) int64: 0 for those that none dominates (the front), 1 for those that then none dominates, and so on.

    Efficient non-dominated sort (Zhang et al. 2015, IEEE TEVC 19(2)): trials in order of the first objective, so that only
    earlier ones can dominate one, and for each the first front without one that does, by bisection.
    """
    loss = losses(values, modes)
    ranks = np.zeros(len(loss), np.int64)
    fronts: list[list[np.ndarray]] = []
    same: tuple[np.ndarray, int] | None = None  # the trial before, which a trial that equals it is no worse than
    for index in np.lexsort(loss.T[::-1]):
        trial = loss[index]
        if same is not None and np.array_equal(same[0], trial):
            ranks[index] = same[1]
            continue
        low, high = 0, len(fronts)
        while low < high:
            middle = (low + high) // 2
            # of two objectives, the last of a front has the least second one of it
            others = fronts[middle][-1:] if len(modes) == 2 else fronts[middle]
            if (np.asarray(others)[:, 1:] <= trial[1:]).all(axis=1).any():
                low = middle + 1
            else:
                high = middle
        if low == len(fronts):
            fronts.append([])
        fronts[low].append(trial)
        ranks[index] = low
        same = trial, low
    return ranks


def crowding_distances(values: np.ndarray) -> np.ndarray:
    """(N,) float64: how far the neighbours of each trial of one front are from each other, over all objectives, each in shares of
    its range; infinite for the ends. The farther, the more the trial adds to the front (Deb et al. 2002, NSGA-II).
    """
    points = np.asarray(values, dtype=np.float64)
    distances = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        ascending = column[order]
        span = ascending[-1] - ascending[0] if len(ascending) else 0.0
        if span > 0:
            distances[order[1:-1]] += (ascending[2:] - ascending[:-2]) / span
            distances[order[[0, -1]]] = np.inf
    return distances


def hypervolume(values: np.ndarray, modes: Sequence[str], reference: Sequence[float]) -> float:
    """What the trials dominate of the space up to `reference`, M values that are bad in each objective; M is 1, 2 or 3.

    By slices along the last objective: exact, in time that grows as N^(M-1).
    """
    loss, corner = losses(values, modes), losses(np.array([reference]), modes)[0]
    return _volume(loss[(loss < corner).all(axis=1)], corner)


def _volume(loss: np.ndarray, corner: np.ndarray) -> float:
    if not len(loss):
        return 0.0
    if loss.shape[1] == 1:
        return float(corner[0] - loss.min())
    loss = loss[np.argsort(loss[:, -1], kind="stable")]
    ends = np.append(loss[1:, -1], corner[-1])
    slices = (
        _volume(loss[: index + 1, :-1], corner[:-1]) * float(end - loss[index, -1])
        for index, end in enumerate(ends)
        if end > loss[index, -1]
    )
    return sum(slices)


def knee(values: np.ndarray, modes: Sequence[str]) -> int:
    """Index of the front's trial that gives the most in each objective for the least in the others: the one that is farthest from
    the line (M = 2) or plane (M = 3) through the corners, at which one objective is as bad as on the front and the others as
    good, towards the good values. Each objective is in shares of its range on the front. The first of equals; N > 0.
    """
    loss = losses(values, modes)
    least, span = loss.min(axis=0), np.ptp(loss, axis=0)
    shares = (loss - least) / np.where(span > 0, span, 1.0)
    return int(shares.sum(axis=1).argmin())
