"""Twins: faces of the same pixels, exactly or nearly, and which of them is the first."""

import numpy as np

from fersweep.data_pipeline.splits.groups import components, first_rows

RANK = {"train": 0, "val": 1, "test": 2}


def find_twins(ids: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Row of each face's twin: the first with its pixels in the highest split that outranks its own (test > val > train).

    ids (N,) "S32", splits (N,) 0–2 → (N,) int64, -1 where there is no such twin.
    """
    return _outranking(first_rows(ids), np.asarray(splits))


def find_near(pairs: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Row of each face's near twin, like `find_twins`. A chain of near twins is one group.

    pairs (P, 2) rows, splits (N,) 0–2 → (N,) int64, -1 where there is none.
    """
    return _outranking(components(len(splits), [pairs]), np.asarray(splits))


def _outranking(first: np.ndarray, splits: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero((np.bincount(first, minlength=len(first)) > 1)[first])
    order = rows[np.lexsort((rows, -splits[rows].astype(np.int64), first[rows]))]
    best = np.arange(len(first))
    starts = np.ones(len(order), bool)
    starts[1:] = first[order[1:]] != first[order[:-1]]
    best[order] = order[starts][np.cumsum(starts) - 1]
    return np.where(splits[best] > splits, best, -1)
