"""The folds of a task with `fold: all`: the faces of all of them are held once, and each fold is rows of them.

    order = pool_rows(selection, detected)                       # which faces: those of val first, then altered copies
    folds = make_folds(selection, detected, pool, order, names)  # pool: Arrays of those faces

What a fold's model learns from comes from its own train alone: its faces (without twins of test, balanced and cut as for
`fold: k`), its features, means and class weights. So a fold of `fold: all` is to the bit what `fold: k` is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fersweep.data_pipeline.tasks.arrays import Arrays, Fold, statistics
from fersweep.data_pipeline.tasks.selection import Selection

Chosen = tuple[np.ndarray, np.ndarray]  # rows of the dataset, rising, and their classes


def pool_rows(selection: Selection, detected: bool | None) -> list[Chosen]:
    """The faces of all folds; then what is learned alone: altered copies."""
    rows, y = selection.chosen("val", detected)
    learned, learned_y = selection.chosen("train", detected)
    more = ~np.isin(learned, rows)
    return [(rows, y), (learned[more], learned_y[more])]


def make_folds(
    selection: Selection, detected: bool | None, pool: Arrays, order: Sequence[Chosen], names: Sequence[Sequence[str]]
) -> list[Fold]:
    """The folds of `pool`, whose faces are those of `order`. `names`: the pool's features, and then each fold's own."""
    rows = np.concatenate([rows for rows, _ in order])
    by_row = np.argsort(rows)
    all_names, *names_of_folds = names

    def places(fold: Selection, split: str) -> np.ndarray:
        return by_row[np.searchsorted(rows, fold.chosen(split, detected)[0], sorter=by_row)]

    folds: list[Fold] = []
    for fold, own_names in zip(selection.folds, names_of_folds, strict=True):
        train, columns = places(fold, "train"), np.array([all_names.index(name) for name in own_names])
        x = pool.x[train] if pool.x.ndim > 2 else pool.x[np.ix_(train, columns)]
        own = statistics(x, pool.y[train], selection.num_classes)
        folds.append(Fold(train=train, val=places(fold, "val"), columns=columns, **own))
    return folds
