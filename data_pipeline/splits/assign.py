"""Who learns and who tests: carve the splits that sources lack, deal folds, and name the twins that are in several.

Twins are faces with the same pixels; near twins look the same (near_twins.py). No carved split and no fold shares
a face, a near twin or, where splits go by subject, a person with another: what belongs together is a group, and a group
is never torn. Faces are rows of compact arrays (some 50 bytes a face), so that millions are split in seconds.
"""

from collections.abc import Sequence
from typing import get_args

import numpy as np

from fersweep.common.errors import InputError, hint
from fersweep.data_pipeline.splits.groups import group, persons_of
from fersweep.data_pipeline.splits.twins import RANK
from fersweep.data_pipeline.vocabulary import By

MAX_FOLDS = 100


def assign(
    ids: np.ndarray,
    labels: np.ndarray,
    splits: np.ndarray,
    subjects: np.ndarray,
    pairs: np.ndarray,
    *,
    by: By = "auto",
    val_share: float = 0.1,
    test_share: float = 0.1,
    folds: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Split, and fold if `folds` is given, of each of N faces. The same arguments give the same result.

    Args:
        ids: (N,) "S32", the sha256 of each face's pixels. labels: (N,) integers from 0.
        splits: (N,) 0 train, 1 val, 2 test, -1 where the source does not say.
        subjects: (N,) number of the person, -1 where unknown. pairs: (P, 2) rows of near twins.
        by: "auto" takes the sources' own splits; where they have none, it carves val and test. "official" is the same,
            but refuses sources without splits. "subject" and "stratified" carve anew whatever the sources say. What is
            carved goes by subject (whole persons) where subjects are known, unless `by` is "stratified"; a face of nobody
            known is a person of its own.
        val_share, test_share: of the faces of train; a split that the sources have is kept as it is.
        folds: K folds of train and val together; only test stays apart, and it is the same with and without folds.

    Returns:
        splits (N,) int8, and folds (N,) int8 or None: 0 … K-1 for every face outside test (its split is then train),
        -1 in test. Each label's share is the same everywhere as far as groups allow. A train face whose twin or near twin
        is in a given val or test stays in train: `find_twins` and `find_near` name it.

    InputError where the faces lack what `by` needs, or there are more folds than groups.
    """
    _check(by, splits, subjects, folds)
    rng = np.random.default_rng(seed)
    official = np.asarray(splits, np.int8) if by in ("auto", "official") else np.full(len(ids), -1, np.int8)
    persons = persons_of(subjects) if by != "stratified" else None
    groups = group(ids, pairs, persons)
    assigned = np.maximum(official, np.int8(0))
    shares = [
        (split, share)
        for split, share in ((1, val_share), (2, test_share))
        if share > 0 and not (assigned == split).any()
    ]
    free = _free(groups, groups if persons is None else group(ids, pairs), assigned == RANK["train"])
    carve = _carve_labels if persons is None else _carve_groups
    carved = carve(groups[free], np.asarray(labels)[free], shares, rng)
    assigned[free] = carved
    if folds is None:
        return assigned, None
    pool = np.flatnonzero(assigned != RANK["test"])
    present, compact = np.unique(groups[pool], return_inverse=True)
    if len(present) < folds:
        raise InputError(
            f"folds: {folds} folds need as many groups of faces that belong together, there are {len(present)}"
        )
    fold = np.full(len(ids), -1, np.int8)
    fold[pool] = _deal(_table(compact, np.asarray(labels)[pool]), np.full(folds, 1 / folds), rng)[compact]
    assigned[pool] = RANK["train"]
    return assigned, fold


def _check(by: str, splits: np.ndarray, subjects: np.ndarray, folds: int | None) -> None:
    if by not in get_args(By):
        raise InputError(f"split by '{by}' is unknown; {hint(by, get_args(By))}")
    if by == "official" and not (splits >= 0).any():
        raise InputError("split by official: no source has splits of its own; subject, stratified or auto carve them")
    if by == "subject" and (unknown := int((subjects < 0).sum())):
        raise InputError(
            f"split by subject: {unknown} of {len(subjects)} faces have no subject; stratified or auto need none"
        )
    if folds is not None and not 2 <= folds <= MAX_FOLDS:
        raise InputError(f"folds: must lie in 2–{MAX_FOLDS}, but got {folds}")


# --- drawing ---


def _free(groups: np.ndarray, twins: np.ndarray, train: np.ndarray) -> np.ndarray:
    """(N,) bool: faces of train that may be drawn: no face of their group in train has a (near) twin outside train.

    A person whom the sources themselves put on both sides may be drawn with what train has of them.
    """
    held = train & (np.bincount(twins, ~train) > 0)[twins]
    return train & (np.bincount(groups, held) == 0)[groups]


def _carve_labels(
    groups: np.ndarray, labels: np.ndarray, shares: Sequence[tuple[int, float]], rng: np.random.Generator
) -> np.ndarray:
    """(n,) split of each face, 0 where it is not drawn: of each label its share. A group counts as its first face does.

    A group that is larger than the whole share of its label is left in train.
    """
    _, first, groups, size = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    label_of = labels[first]
    drawn = np.zeros(len(size), np.int8)
    orders = {label: np.flatnonzero(label_of == label) for label in dict.fromkeys(label_of.tolist())}
    totals = {label: int(size[order].sum()) for label, order in orders.items()}
    orders = {label: order[rng.permutation(len(order))][::-1] for label, order in orders.items()}
    for split, share in shares:
        for label, order in orders.items():
            wanted = round(share * totals[label])
            fitting = order[(size[order] <= wanted) & (drawn[order] == 0)]
            before = np.cumsum(size[fitting]) - size[fitting]
            drawn[fitting[before < wanted]] = split
    return drawn[groups]


def _carve_groups(
    groups: np.ndarray, labels: np.ndarray, shares: Sequence[tuple[int, float]], rng: np.random.Generator
) -> np.ndarray:
    """The same for groups of many labels: whole persons, so that each split has its share of each label, nearly."""
    present, groups = np.unique(groups, return_inverse=True)
    if not shares:
        return np.zeros(len(groups), np.int8)
    if len(present) <= len(shares):
        raise InputError(
            f"split by subject: the faces make {len(present)} groups (persons whom near twins join are one group), "
            f"too few for {len(shares) + 1} splits; split by stratified"
        )
    parts = np.array([1 - sum(share for _, share in shares), *(share for _, share in shares)])
    dealt = _deal(_table(groups, labels), parts, rng)
    return np.array([0, *(split for split, _ in shares)], np.int8)[dealt[groups]]


def _table(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(G, L) faces per group and label; labels without a face are left out."""
    _, label = np.unique(labels, return_inverse=True)
    num_labels = int(label.max(initial=0)) + 1
    return np.bincount(groups * num_labels + label, minlength=(groups.max() + 1) * num_labels).reshape(-1, num_labels)


def _deal(table: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bin (G,) of each group of `table` (G, L), so that each bin gets its share of each label; none stays empty.

    Groups of several labels are dealt first, the largest ones first, each to the bin that lacks it most (chi-square
    against the bins' targets, much as scikit-learn's StratifiedGroupKFold does it); then those of one label, large ones
    first, which fill the bins up to one level.
    """
    target = shares[:, None] * table.sum(axis=0)  # (B, L)
    held = np.zeros_like(target)
    bins = np.zeros(len(table), np.int64)
    size = table.sum(axis=1)
    several = (table > 0).sum(axis=1) > 1
    mixed = rng.permutation(np.flatnonzero(several))
    for index in mixed[np.argsort(-size[mixed], kind="stable")].tolist():
        cost = (table[index] * (2 * (held - target) + table[index]) / target).sum(axis=1)
        best = int(cost.argmin())
        bins[index] = best
        held[best] += table[index]
    for label in range(table.shape[1]):
        pure = np.flatnonzero(~several & (table[:, label] > 0))
        for group_size in np.unique(size[pure])[::-1].tolist():
            members = rng.permutation(pure[size[pure] == group_size])
            gives = _level(held[:, label], target[:, label], group_size, len(members), held.sum(axis=1))
            bins[members] = np.repeat(np.arange(len(shares)), gives)
            held[:, label] += gives * group_size
    for empty in np.flatnonzero(np.bincount(bins, minlength=len(shares)) == 0).tolist():
        donors = np.flatnonzero(bins == np.bincount(bins).argmax())
        if len(donors) > 1:
            bins[donors[size[donors].argmin()]] = empty
    return bins


def _level(held: np.ndarray, target: np.ndarray, size: int, number: int, load: np.ndarray) -> np.ndarray:
    """How many of `number` units of `size` each bin (B,) gets, so that all are at one level of their targets; ties go to low `load`."""
    active = np.ones(len(held), bool)
    while True:
        level = (held[active].sum() + number * size) / target[active].sum()
        above = active & (held > level * target)
        if not above.any():
            break
        active &= ~above
    lacks = np.where(active, level * target - held, 0.0)
    gives = np.floor(lacks / size + 1e-9).astype(np.int64)
    left = number - int(gives.sum())
    gives[np.lexsort((load, -np.round(lacks - gives * size, 6)))[:left]] += 1
    return gives
