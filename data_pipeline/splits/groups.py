"""Rows that must stay together: twins, near-twins, and one person's faces."""

# scipy has no types.
# pyright: reportUnknownVariableType=false

from collections.abc import Sequence

import numpy as np


def group(ids: np.ndarray, pairs: np.ndarray, subjects: np.ndarray | None = None) -> np.ndarray:
    """Number of each face's group (N,), counted from 0 in the order of their first faces.

    A group is joined by the same pixels, by near twins and, if given, by subjects.
    """
    first = first_rows(ids)
    rows = np.arange(len(ids))
    edges = [np.stack([rows, first], axis=1)[first != rows], pairs]
    if subjects is not None:
        _, start, inverse = np.unique(subjects, return_index=True, return_inverse=True)
        edges.append(np.stack([rows, start[inverse]], axis=1))
    first = components(len(ids), edges) if sum(map(len, edges[1:])) else first
    return (np.cumsum(first == rows) - 1)[first]


def persons_of(subjects: np.ndarray) -> np.ndarray | None:
    """`subjects` (N,), with a number of its own for each face without a known subject; None: no face has one."""
    if not (subjects >= 0).any():
        return None
    return np.where(subjects >= 0, subjects, subjects.max(initial=0) + 1 + np.arange(len(subjects)))


# --- groups: each is named by its first row ---


def first_rows(ids: np.ndarray) -> np.ndarray:
    """(N,) int64: the first row that has the same id. Words are compared: a bytes object loses its trailing zeros."""
    if ids.dtype != "S32":
        raise TypeError(f"ids must be S32 (raw sha256), but got {ids.dtype}")
    words = np.ascontiguousarray(ids).view(np.uint64).reshape(-1, 4)
    order = np.lexsort(words.T)  # stable: rows of an id rise
    starts = np.ones(len(ids), bool)
    starts[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1)
    first = np.empty(len(ids), np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


def components(num_rows: int, edges: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) int64: the first row that can be reached over `edges`, each (E, 2) rows."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.concatenate([np.asarray(rows, np.int32).reshape(-1, 2) for rows in edges])
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (num_rows, num_rows))
    _, component = connected_components(graph.tocsr(), directed=False)
    first = np.empty(num_rows, np.int64)
    first[component[::-1]] = np.arange(num_rows)[::-1]  # the last write wins: the lowest row
    return first[component]
