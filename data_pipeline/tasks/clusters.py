"""Which faces of a split belong together: one person's, and twins.

    known = clusters(task, "test")
    known.number[known.loaded]        # (N,) of the rows of `task.load("test")`
    known.words                       # "120 persons"

Such faces are right or wrong together, so an interval or a test that takes each for a draw of its own is too sure.
"""

# pyarrow and scipy have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fersweep.data_pipeline.tasks.task import Task

INDEPENDENT = "faces, which are taken for independent"


@dataclass(frozen=True)
class Clusters:
    """The faces of `task.everyone(split)`, M of them, in groups that are drawn as one.

    Attributes:
        number: (M,) int64, counted from 0.
        loaded: (M,) bool: which are the rows of `task.load(split)`, in its order.
        num_persons: persons whom the dataset names in this split; 0 where it names none.
        num_unnamed: faces of nobody by name, where others have one.
        num_twins: faces that have an exact or near twin in the split.
    """

    number: np.ndarray
    loaded: np.ndarray
    num_persons: int
    num_unnamed: int
    num_twins: int

    @property
    def num(self) -> int:
        return int(self.number.max(initial=-1)) + 1

    @property
    def words(self) -> str:
        """What is resampled."""
        twins = ", twins as one" if self.num_twins else ""
        if not self.num_persons:
            return f"faces{twins}, which are taken for independent" if twins else INDEPENDENT
        faces = f" and {self.num_unnamed} faces of nobody by name" if self.num_unnamed else ""
        groups = f" ({self.num} groups)" if self.num < self.num_persons + self.num_unnamed else ""
        return f"{self.num_persons} person{'s'[: self.num_persons != 1]}{faces}{twins}{groups}"


def clusters(task: Task, split: str) -> Clusters:
    """Of the faces of `split`: those of one `subject` of one source, of the same pixels, or of the same near twin.

    Near twins within a split are known where both have one in a split that outranks theirs, or are each other's.
    """
    table = task.columns(split, ["face_id", "source", "origin", "subject", "near_duplicate_of", "detected"])
    num = table.num_rows
    detected = table["detected"].to_numpy()
    loaded = np.ones(num, bool) if task.spec.features == "pixels" else detected
    twins = [_same(_codes(table["face_id"]))]
    near = _codes(table["near_duplicate_of"])
    if (near >= 0).any():
        twins += [_same(near), _holders(table["source"].to_pylist(), table["near_duplicate_of"].to_pylist())]
    of_twins = _joined(num, twins)
    subject, origin = _codes(table["subject"]), _codes(table["origin"])
    named = subject >= 0
    person = np.where(named, subject * (origin.max(initial=-1) + 2) + origin + 1, -1)
    return Clusters(
        number=_joined(num, [*twins, _same(person)]),
        loaded=loaded,
        num_persons=len(np.unique(person[named])),
        num_unnamed=int((~named).sum()),
        num_twins=int((np.bincount(of_twins, minlength=num) > 1)[of_twins].sum()),
    )


def _joined(num: int, edges: list[np.ndarray]) -> np.ndarray:
    """(num,) int64: number of each row's group, counted from 0; rows that edges (E, 2) lead to are one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.concatenate(edges).astype(np.int32)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (num, num))
    return connected_components(graph.tocsr(), directed=False)[1].astype(np.int64)


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """(N,) int64: a number of each text, -1 of null."""
    text = column.cast(pa.string()).combine_chunks()
    return text.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _same(codes: np.ndarray) -> np.ndarray:
    """(E, 2) rows: each with the first that has its code; -1 is nobody's."""
    rows = np.flatnonzero(codes >= 0)
    _, start, inverse = np.unique(codes[rows], return_index=True, return_inverse=True)
    return np.stack([rows, rows[start[inverse]]], axis=1)


def _holders(sources: list[str], named: list[str | None]) -> np.ndarray:
    """(E, 2) rows: each with the face of this split that it is a near twin of."""
    place = {source: row for row, source in enumerate(sources)}
    return np.array([(row, place[name]) for row, name in enumerate(named) if name in place], np.int64).reshape(-1, 2)
