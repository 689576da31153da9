"""Readings of earlier runs, by face id: MediaPipe sees only faces that it has not seen before.

    cache = ReadingCache(directory, Sight(border=0.25, size=192, views=1))
    known = cache.find(ids)                 # (N,) READING: those not found have num_views UNKNOWN
    cache.add(ids, readings)

A directory of pairs of files, `NAME.ids.npy` and `NAME.readings.npy`, of which the first is written last: a reader
sees a pair or nothing, any number of processes may add, and two that add the same face do no harm. Readings are mapped
into memory, not loaded: about 3 kB a face on disk, 32 bytes in memory.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fersweep.common.files import replacing
from fersweep.data_pipeline.faces.landmarker import Reading
from fersweep.data_pipeline.faces.landmarker_bundle import SHA256

ID_BYTES = 32
UNKNOWN = -1  # of num_views: not in the cache; 0: in the cache, no face found
SMALL_BYTES, MERGED_BYTES = 2**25, 2**28  # files below are merged into files of up to
READING = np.dtype(
    [
        ("num_views", np.int8),
        ("spread", np.float32),
        ("pose", np.float32, 3),
        ("scores", np.float32, 52),
        ("landmarks", np.float16, (478, 3)),
    ]
)


@dataclass(frozen=True)
class Sight:
    """How a face is shown to MediaPipe: what a reading depends on beside the face. See `landmarker.Landmarker`."""

    border: float
    size: int
    views: int


def as_row(reading: Reading | None) -> np.ndarray:
    """A reading as READING (); None, no face found, has NaN for scores."""
    row = np.zeros((), READING)
    if reading is None:
        row["scores"] = np.nan
    else:
        for name in ("num_views", "spread", "pose", "scores", "landmarks"):
            row[name] = getattr(reading, name)
    return row


class ReadingCache:
    """The readings of one Sight, bundle and version of MediaPipe under `directory`."""

    def __init__(self, directory: Path, sight: Sight, mediapipe: str):
        key = hashlib.sha256(repr((sorted(asdict(sight).items()), SHA256, mediapipe, READING.descr)).encode())
        self.directory = Path(directory) / key.hexdigest()[:16]
        ids: list[np.ndarray] = []
        files: list[np.ndarray] = []
        self._readings: list[np.ndarray] = []
        for path in sorted(self.directory.glob("*.ids.npy")):
            pair = _load(path)
            if pair is not None:
                ids.append(pair[0])
                files.append(np.stack([np.full(len(pair[0]), len(self._readings)), np.arange(len(pair[0]))], axis=1))
                self._readings.append(pair[1])
        order = np.argsort(np.concatenate(ids)) if ids else None
        self._ids = np.concatenate(ids)[order] if ids else np.empty(0, f"S{ID_BYTES}")
        self._where = np.concatenate(files)[order].astype(np.int32) if ids else np.empty((0, 2), np.int32)

    def find(self, ids: np.ndarray) -> np.ndarray:
        """(N,) READING of faces `ids` (N,) S32; num_views is UNKNOWN where there is none."""
        readings = np.zeros(len(ids), READING)
        readings["num_views"] = UNKNOWN
        if len(self._ids):
            places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
            for row in np.flatnonzero(self._ids[places] == ids):
                file, place = self._where[places[row]]
                readings[row] = self._readings[file][place]
        return readings

    def add(self, ids: np.ndarray, readings: np.ndarray) -> bool:
        """Keep `readings` (N,) READING of faces `ids` (N,) S32 for later.

        False where the directory cannot be written (the disk is full, no permission): they are in the dataset all the same.
        """
        if len(ids) == 0:
            return True
        name = self.directory / uuid.uuid4().hex
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            _save(name.with_suffix(".readings.npy"), readings)
            _save(name.with_suffix(".ids.npy"), ids)
        except OSError:
            return False
        return True

    def merge(self) -> None:
        """Make few files of the many small ones that workers write."""
        small = [path for path in sorted(self.directory.glob("*.ids.npy")) if _num_bytes(path) < SMALL_BYTES]
        while len(small) > 1:
            merged: list[Path] = []
            num_bytes = 0
            while small and (not merged or num_bytes + _num_bytes(small[-1]) <= MERGED_BYTES):
                num_bytes += _num_bytes(small[-1])
                merged.append(small.pop())
            pairs = [pair for path in merged if (pair := _load(path)) is not None]
            ids, readings = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
            if not self.add(ids, readings):
                return
            for path in merged:
                path.unlink(missing_ok=True)
                _readings_of(path).unlink(missing_ok=True)


def _readings_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".ids.", ".readings."))


def _num_bytes(path: Path) -> int:
    try:
        return _readings_of(path).stat().st_size
    except OSError:
        return 0


def _load(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """ids and readings, mapped; None where they are not whole (another process merges, or the disk was full)."""
    try:
        ids, readings = np.load(path), np.load(_readings_of(path), mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    whole = ids.dtype == f"S{ID_BYTES}" and readings.dtype == READING and len(ids) == len(readings)
    return (ids, readings) if whole else None


def _save(path: Path, array: np.ndarray) -> None:
    with replacing(path) as temporary:
        np.save(temporary, array, allow_pickle=False)
