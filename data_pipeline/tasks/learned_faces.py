"""Which faces a model learned from, and which faces of other data are among them.

record = task.learned(["train"])                       # a line of model.json's "learned"
faces = LearnedFaces.of(task_of(record, place), record)
faces.save(path), LearnedFaces.read(path)              # to travel with the model, without its dataset
seen = faces.seen(other, "test", [(task, record)])     # also near twins, where the learned pictures are at hand
other.without("test", seen.faces)                      # the same task, without them
"""

# pyarrow has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from fersweep.common.errors import InputError
from fersweep.common.files import replacing
from fersweep.data_pipeline.dataset.pixels import pixels
from fersweep.data_pipeline.splits.near_twins import SIDE, near_pairs
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task

FILE = "learned_faces.npy"
"""Beside a model that travels without its dataset."""
HEADER_BYTES = 128  # of a .npy file
HEX_DIGITS = 16  # of a face's id that are kept: of 10 million faces, two share them with a probability of 3e-6
MAX_COMPARED = 500_000  # faces among which near twins are looked for
BLOCK_ROWS = 8192  # faces that are made small at a time


@dataclass(frozen=True)
class Seen:
    """Which faces of a split a model learned, or may have.

    Attributes:
        faces: (M,) bool over `task.everyone(split)`.
        num_same: those that are the same picture.
        num_near: those that are near twins alone; None where they were not looked for.
        unknown: the dataset that it learned and that is not at hand, so that nothing is known of its faces; "" if none.
        uncompared: what kept near twins from being looked for.
    """

    split: str
    faces: np.ndarray
    num_same: int
    num_near: int | None
    unknown: str = ""
    uncompared: str = ""

    def sentence(self, model: str = "the model", after: str = "; judged without them") -> str:
        """For a card or a note. `after`: what was done with them."""
        if self.unknown:
            return f"which faces of {self.split} {model} learned is not known: dataset {self.unknown} is not here"
        if num := int(self.faces.sum()):
            near = "" if self.num_near is None else f", {self.num_near:,} near twins"
            text = f"{num:,} of {len(self.faces):,} faces of {self.split} may have been learned by {model}: "
            text += f"{self.num_same:,} the same picture{near}{after}"
        else:
            text = f"none of the {len(self.faces):,} faces of {self.split} was learned by {model}"
        return f"{text}; near twins were not looked for: {self.uncompared}" if self.uncompared else text


@dataclass(frozen=True)
class LearnedFaces:
    """Ids of faces: (M,) uint64, the first 8 bytes of their sha256, rising, each once."""

    ids: np.ndarray

    @classmethod
    def of(cls, task: Task, record: Mapping[str, Any]) -> LearnedFaces:
        """Those of a record (`Task.learned`) of the dataset of `task`, see `task_of`. Of an altered copy: its face."""
        return cls(np.unique(_packed(task.learned_ids(record["splits"], bool(record.get("without_twins"))))))

    @classmethod
    def joined(cls, several: Sequence[LearnedFaces]) -> LearnedFaces:
        return cls(np.unique(np.concatenate([np.empty(0, np.uint64), *(faces.ids for faces in several)])))

    @classmethod
    def read(cls, path: Path) -> LearnedFaces:
        """What `save` wrote. InputError where it is something else."""
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        header = _header((len(content) - HEADER_BYTES) // 8)
        if not content.startswith(header):  # nothing of it is believed: it is what `save` writes, or it is not
            raise InputError(f"{path}: is no list of learned faces: promote the model anew")
        ids = np.frombuffer(content, "<u8", offset=len(header)).astype(np.uint64)
        if not (ids[1:] > ids[:-1]).all():
            raise InputError(f"{path}: is no list of learned faces, its ids do not rise: promote the model anew")
        return cls(ids)

    def save(self, path: Path) -> None:
        """Write them as .npy, 8 bytes a face, by temp-and-rename. Raises OSError."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(_header(len(self.ids)) + self.ids.astype("<u8").tobytes())

    def has(self, face_ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """(N,) bool: which faces are among them."""
        return np.isin(_packed(face_ids), self.ids)

    def seen(
        self, task: Task, split: str, at_hand: Sequence[tuple[Task, Mapping[str, Any]]] = (), lacking: str = ""
    ) -> Seen:
        """Which faces of `split` of `task` are among them, or near twins of a face of `at_hand`.

        Args:
            at_hand: tasks of what was learned, with their records, the pictures of which are here; none: ids alone are compared.
            lacking: a learned dataset that is not here.
        """
        same = self.has(task.everyone(split)[2])
        near, uncompared = None, f"dataset {lacking} is not here" if lacking else ""
        if (
            at_hand
            and not uncompared
            and (without := [each for each in (task, *(t for t, _ in at_hand)) if not each.has_pixels])
        ):
            uncompared = f"{without[0].place} has no pictures"
        if at_hand and not uncompared:
            learned = [
                (t, t.learned_rows(record["splits"], bool(record.get("without_twins")))) for t, record in at_hand
            ]
            judged = (task, task.all_rows(split))
            if sum(len(rows) for _, rows in (*learned, judged)) > MAX_COMPARED:
                uncompared = f"there are more than {MAX_COMPARED:,} faces"
            else:
                near = _near_twins([_thumbnails(*each) for each in learned], _thumbnails(*judged)) & ~same
        if near is None:
            return Seen(split, same, int(same.sum()), None, uncompared=uncompared)
        return Seen(split, same | near, int(same.sum()), int(near.sum()))


def _header(num: int) -> bytes:
    """Of a .npy file of `num` uint64."""
    buffer = io.BytesIO()
    shape = {"descr": "<u8", "fortran_order": False, "shape": (num,)}
    np.lib.format.write_array_header_1_0(buffer, shape)
    return buffer.getvalue()


def task_of(record: Mapping[str, Any], place: str | Path) -> Task:
    """The task whose faces a record (`Task.learned`) is of, on its dataset at `place`.

    InputError where the record is of another dataset or damaged.
    """
    try:
        spec = TaskSpec.model_validate(record.get("task") or {})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"model.json: learned.task.{key}: {error.errors()[0]['msg']}") from None
    faces_alone = {"blendshapes": "all", "informative": None}  # to choose features, faces would be read
    return Task(place, spec.model_copy(update=faces_alone), learned=False)


def _packed(face_ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """(N,) uint64. An id that is no sha256 is refused as an InputError."""
    try:
        return np.fromiter((int(name[:HEX_DIGITS], 16) for name in face_ids), np.uint64, len(face_ids))
    except (ValueError, OverflowError) as error:
        raise InputError(f"a face's id is no sha256: {error}") from None


def _thumbnails(task: Task, rows: np.ndarray) -> np.ndarray:
    """(n, SIDE, SIDE) uint8 of rows of the task's dataset."""
    import cv2

    small = np.empty((len(rows), SIDE, SIDE), np.uint8)
    for start in range(0, len(rows), BLOCK_ROWS):
        for index, face in enumerate(pixels(task.dataset, rows[start : start + BLOCK_ROWS], task.manifest), start):
            small[index] = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small


def _near_twins(learned: Sequence[np.ndarray], judged: np.ndarray) -> np.ndarray:
    """(M,) bool: which judged faces are near twins of a learned one, or of such a one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    thumbnails = np.concatenate([*learned, judged])
    pairs, num = near_pairs(thumbnails), len(thumbnails)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (num, num))
    _, group = connected_components(graph.tocsr(), directed=False)
    first = num - len(judged)
    return np.isin(group[first:], group[:first])
