"""The workers of `prepare`: an encoded face, or an augmented copy of a face, to pixels, id and reading.

One a process and a core. Each asks the cache first, and adds what MediaPipe read.
"""

from __future__ import annotations

import atexit
import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fersweep.data_pipeline.faces.altered_copies import augmented
from fersweep.data_pipeline.faces.crop import BESIDE, MAX_FACES, Crops, degenerate, face_crops, fit, is_beside, to_gray
from fersweep.data_pipeline.faces.landmarker import Landmarker
from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
from fersweep.data_pipeline.prepare.reading_cache import ID_BYTES, READING, UNKNOWN, ReadingCache, Sight, as_row
from fersweep.data_pipeline.prepare.staging import reading_columns, staged
from fersweep.data_pipeline.sources.decode import Broken, Face, decode

NO_FACE = "no face found in the picture"


class Job(NamedTuple):
    """What a worker does with faces."""

    image_size: tuple[int, int]
    sight: Sight | None  # None: no MediaPipe
    with_landmarks: bool
    bundle: str | None
    cache: str | None
    crop: bool
    all_faces: bool
    copies: int
    seed: int
    strict_boxes: bool = False  # a box beside its picture is a fault, and not that of a larger one (AffectNet)


class Extractor:
    """Encoded faces (tables of KNOWN, data, kind, box) → STAGED."""

    def __init__(self, job: Job):
        self.job, self.cache = job, None
        self.landmarker = self.finder = None
        if job.sight is not None:
            border, size, views = job.sight.border, job.sight.size, job.sight.views
            self.landmarker = Landmarker(self._bundle(), border=border, size=size, views=views)
            self.cache = ReadingCache(Path(job.cache), job.sight, version("mediapipe")) if job.cache else None
        atexit.register(self.close)

    def close(self) -> None:
        """Free MediaPipe's graphs; called when the process ends, if not before."""
        for landmarker in (self.landmarker, self.finder):
            if landmarker is not None:
                landmarker.close()
        self.landmarker = self.finder = None
        atexit.unregister(self.close)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows, faces, seen = [], [], {"number": [], "of": [], "broken": [], "is_whole": []}
        for row, face in enumerate(_faces(batch)):
            try:
                crops, broken = self._crops(face), NO_FACE
            except Broken as error:
                crops, broken = Crops([]), error.reason
            for number, crop in enumerate(crops.faces or [None]):
                rows.append(row)
                seen["of"].append(0 if number else max(len(crops.faces), 1))
                faces.append(None if crop is None else fit(crop, self.job.image_size, keeps_aspect=True))
                seen["number"].append(number)
                seen["broken"].append(broken if crop is None else None)
                seen["is_whole"].append(crops.is_whole)
        return self._staged(batch, rows, faces, seen)

    def _crops(self, face: Face) -> Crops:
        picture = decode(face, colour=face.kind != "text")
        gray = picture if face.kind == "text" else to_gray(picture)
        if (reason := degenerate(gray)) is not None:
            raise Broken(face.source, reason)
        if face.kind == "text":
            return Crops([gray])
        if self.job.crop and self.job.strict_boxes and face.box is not None and is_beside(face.box, gray.shape):
            raise Broken(face.source, BESIDE)
        crops = face_crops(picture, self._finder if self.job.crop else None, face.box, self.job.all_faces)
        for crop in crops.faces:
            if (reason := degenerate(crop)) is not None:  # a box of the source beside the face
                raise Broken(face.source, reason)
        return crops

    def _finder(self) -> Landmarker:
        if self.finder is None:
            self.finder = Landmarker(self._bundle(), num_faces=MAX_FACES)
        return self.finder

    def _bundle(self) -> Path:
        path = Path(self.job.bundle or "")
        return find_bundle(path if path.is_file() else None)  # another machine of the cluster looks for its own

    def _staged(
        self, batch: pa.Table, rows: list[int], faces: list[np.ndarray | None], seen: dict[str, list[Any]]
    ) -> pa.Table:
        """STAGED with ids and readings of `faces`, which are of `rows` of the batch."""
        seen["pixels"] = [None if face is None else face.tobytes() for face in faces]
        names = [b"" if face is None else hashlib.sha256(face.tobytes()).digest() for face in faces]
        seen["id"] = [name or None for name in names]
        if self.landmarker is not None:
            readings = self.read(faces, np.array(names, f"S{ID_BYTES}"))
            seen |= reading_columns(readings, self.job.with_landmarks)
        return staged(batch, rows, seen)

    def read(self, faces: list[np.ndarray | None], ids: np.ndarray) -> np.ndarray:
        """(N,) READING of gray faces, from the cache or from MediaPipe."""
        assert self.landmarker is not None
        readings = np.zeros(len(faces), READING) if self.cache is None else self.cache.find(ids)
        if self.cache is None:
            readings["num_views"] = UNKNOWN
        new = [row for row in np.flatnonzero(readings["num_views"] == UNKNOWN) if faces[row] is not None]
        for row in new:
            face = faces[row]
            assert face is not None
            readings[row] = as_row(self.landmarker.read(face))
        if self.cache is not None:
            self.cache.add(ids[new], readings[new])
        return readings


class Augmenter(Extractor):
    """Staged faces → STAGED of `copies` augmented copies of each, in its row."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows, faces, seen = [], [], {"number": [], "of": [], "augmentation": []}
        for row, (pixels, name) in enumerate(zip(batch["pixels"].to_pylist(), batch["id"].to_pylist(), strict=True)):
            face = np.frombuffer(pixels, np.uint8).reshape(self.job.image_size)
            for number in range(1, self.job.copies + 1):
                copy, text = augmented(face, name, number, self.job.seed)
                rows.append(row)
                faces.append(copy)
                seen["number"].append(number)
                seen["of"].append(self.job.copies if number == 1 else 0)
                seen["augmentation"].append(text)
        return self._staged(batch, rows, faces, seen)


class Ready:
    """Ready-made blendshapes → STAGED: no picture, no landmarker, the id is that of the scores."""

    def __init__(self, job: Job):
        pass

    def close(self) -> None:
        """Nothing is held."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        scores, broken = [], []
        for face in _faces(batch):
            try:
                scores.append(face.data if face.kind == "scores" else decode(face).tobytes())
                broken.append(None)
            except Broken as error:
                scores.append(None)
                broken.append(error.reason)
        names = [None if data is None else hashlib.sha256(data).digest() for data in scores]
        num = len(scores)
        seen = {"number": [0] * num, "of": [1] * num, "broken": broken, "id": names, "scores": scores}
        return staged(batch, range(num), seen)


def _faces(batch: pa.Table) -> list[Face]:
    """The faces of a batch as `decode` takes them."""
    columns = zip(*(batch[name].to_pylist() for name in ("source", "data", "kind", "box")), strict=True)
    return [
        Face(source, "", None, data, kind, box=None if box is None else tuple(box))
        for source, data, kind, box in columns
    ]
