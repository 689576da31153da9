"""Who learns and who tests: carve the splits that a source lacks, and name the twins that stand in several.

Twins are faces with the same pixels. A carved split never shares a face with train.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

RANK = {"train": 0, "val": 1, "test": 2}


def assign_splits(
    face_ids: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[str | None],
    *,
    val_share: float,
    test_share: float,
    seed: int,
) -> list[str]:
    """Split of each of N faces: the given one, else train; val and test, if no face has them, are carved from train.

    Each takes its share of every label of train (stratified, drawn with `seed`), all twins of a face together. A train
    face whose twin already stands in another split is never drawn.
    """
    assigned = [split or "train" for split in splits]
    groups: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(face_ids):
        groups[name].append(row)
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[list[int]]] = defaultdict(list)
    for rows in groups.values():
        if all(assigned[row] == "train" for row in rows):
            by_label[labels[rows[0]]].append(rows)
    sizes = {label: sum(map(len, members)) for label, members in by_label.items()}
    for label, members in by_label.items():
        by_label[label] = [members[index] for index in rng.permutation(len(members))]
    present = set(assigned)
    for split, share in (("val", val_share), ("test", test_share)):
        if split in present:
            continue
        for label, members in by_label.items():
            wanted = round(share * sizes[label])
            while wanted > 0 and members:
                rows = members.pop()
                wanted -= len(rows)
                for row in rows:
                    assigned[row] = split
    return assigned


def find_twins(face_ids: Sequence[str], splits: Sequence[str], sources: Sequence[str]) -> list[str | None]:
    """For each of N faces the source of the first face with the same pixels in the highest split that outranks its own.

    test outranks val, val outranks train. None where there is no such twin.
    """
    holder: dict[str, int] = {}
    for row, name in enumerate(face_ids):
        if name not in holder or RANK[splits[row]] > RANK[splits[holder[name]]]:
            holder[name] = row
    return [
        sources[holder[name]] if RANK[splits[holder[name]]] > RANK[splits[row]] else None
        for row, name in enumerate(face_ids)
    ]
