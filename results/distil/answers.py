"""What the teacher of a sweep answered, kept with the sweep: `teacher.npz` in its directory, and in its bucket.

    arrays = taught(arrays, sweep, directory)          # train's targets are the teacher's; of a sweep without one, as they were

A resumed sweep and a refit learn from what is kept, and never ask the teacher again: the champion may be another by then.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.files import write_whole
from fersweep.common.untrusted import GB, read_arrays, why
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import SweepJson

FILE = "teacher.npz"
MOST_BYTES = 8 * GB
NAME = np.dtype("S64")  # of a face: sha256 in hex


@dataclass(frozen=True)
class Answers:
    """face_ids: (N,) bytes, rising, each once; probabilities: (N, C) float32 of these faces, rows of which sum to 1."""

    face_ids: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def joined(cls, parts: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int) -> Answers:
        """Of parts of face_ids (n,) and probabilities (n, C)."""
        listed = [(np.empty(0, NAME), np.empty((0, num_classes), np.float32)), *parts]
        names = np.concatenate([names.astype(NAME) for names, _ in listed])
        names, first = np.unique(names, return_index=True)
        return cls(names, np.concatenate([answers for _, answers in listed]).astype(np.float32)[first])

    def as_bytes(self) -> bytes:
        """As .npz."""
        content = io.BytesIO()
        np.savez(content, face_ids=self.face_ids, probabilities=self.probabilities)
        return content.getvalue()

    @classmethod
    def parsed(cls, content: bytes, num_classes: int) -> Answers:
        """What `as_bytes` made. Raises ValueError."""
        arrays = read_arrays(content, MOST_BYTES)
        if arrays.keys() != {"face_ids", "probabilities"}:
            raise ValueError("it lacks face_ids or probabilities")
        names, probabilities = arrays["face_ids"], arrays["probabilities"]
        if (
            names.dtype != NAME
            or probabilities.dtype != np.float32
            or probabilities.shape != (*names.shape, num_classes)
        ):
            raise ValueError(
                f"probabilities of shape {probabilities.shape}, of {names.shape} faces and {num_classes} classes"
            )
        if not (names[1:] > names[:-1]).all():
            raise ValueError("its faces do not rise")
        if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
            raise ValueError("its rows are no probabilities")
        return cls(names, probabilities)

    def of(self, face_ids: np.ndarray) -> np.ndarray:
        """(M, C) float32 of these faces (M,); NaN for those that the teacher did not see."""
        wanted = np.asarray(face_ids).astype(NAME)
        answers = np.full((len(wanted), self.probabilities.shape[1]), np.nan, np.float32)
        if len(self.face_ids):
            places = np.minimum(np.searchsorted(self.face_ids, wanted), len(self.face_ids) - 1)
            has = self.face_ids[places] == wanted
            answers[has] = self.probabilities[places[has]]
        return answers


def targets(probabilities: np.ndarray, y: np.ndarray, weight: float, temperature: float) -> np.ndarray:
    """(N, C) float32: what faces of the classes y (N,) are to be answered with, of which a teacher answered `probabilities`
    (N, C); a row of NaN is a face that it did not see, which keeps its label.

    weight · p^(1/T) / Σ p^(1/T) + (1 - weight) · label (Hinton et al. 2015, arXiv:1503.02531). The trial's own
    probabilities stay at temperature 1, as they are judged.
    """
    labels = np.eye(probabilities.shape[1], dtype=np.float32)[y]
    softened = probabilities.astype(np.float64) ** (1 / temperature)
    softened /= softened.sum(axis=1, keepdims=True)
    mixed = weight * softened + (1 - weight) * labels
    return np.where(np.isnan(mixed), labels, mixed).astype(np.float32)


def taught(arrays: TaskArrays, sweep: SweepJson, directory: Path) -> TaskArrays:
    """The task's arrays as the trials of the sweep in `directory` learn them. InputError where what its teacher answered is
    gone or damaged.
    """
    asked, teacher = sweep.asked.distil, sweep.teacher
    if asked is None:
        return arrays
    if teacher is None:
        raise InputError(f"{directory / 'sweep.json'}: it has distil, and no teacher: put a copy of the file back")
    answers = _read(sweep, directory, teacher.sha256)
    probabilities = answers.of(arrays.train.face_ids)
    votes = targets(probabilities, arrays.train.y, asked.weight, asked.temperature)
    return arrays.taught_by(votes, teacher.learned)


def _read(sweep: SweepJson, directory: Path, sha256: str) -> Answers:
    storage, path = sweep.storage(directory), directory / FILE
    place, content = str(path), b""
    try:
        with contextlib.suppress(FileNotFoundError):
            content = Storage(directory).read(FILE, MOST_BYTES)
        if hashlib.sha256(content).hexdigest() != sha256 and storage.path is None:
            place = f"{FILE} in {storage.address}"
            content = storage.read(FILE, MOST_BYTES)
            if hashlib.sha256(content).hexdigest() == sha256:
                write_whole(path, content)
        if not content:
            raise ValueError("it is gone")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError("its sha256 is another")
        return Answers.parsed(content, len(sweep.classes))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{place}: is not what the teacher of sweep {sweep.name!r} answered ({why(error)}): put a copy of it back"
        ) from None
