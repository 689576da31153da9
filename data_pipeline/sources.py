"""Readers of raw data: the Kaggle CSV and the folder layout, each plain or inside .zip, .tar or .tar.gz.

    for face in open_source(Path("fer2013.csv.zip")).faces():
        pixels = decode(face)                     # (H, W) uint8

Everything is streamed: one face is in memory at a time, archives are never unpacked, and the names of their members are
only ever read, never used as paths. A new format is a reader and a row of READERS.
"""

import csv
import hashlib
import io
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from data_pipeline.containers import Member, members, reading
from data_pipeline.errors import InputError
from data_pipeline.quiet import silent_stderr

MAX_IMAGE_BYTES = 64 * 2**20
MAX_IMAGE_PIXELS = 64 * 2**20
MAX_LINE_CHARS = 2**20  # of a CSV
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm"}
CSV_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # FER2013's ids 0–6
USAGES = {"training": "train", "publictest": "val", "privatetest": "test"}
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "publictest"),
    "test": ("test", "testing", "privatetest"),
}
CLASS_FOLDERS = {
    "angry": ("angry", "anger"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "fearful"),
    "happy": ("happy", "happiness"),
    "sad": ("sad", "sadness"),
    "surprise": ("surprise", "surprised"),
    "neutral": ("neutral",),
    "contempt": ("contempt",),
}


class Face(NamedTuple):
    """One face, not yet decoded."""

    source: str  # file and row, or path within the source: what an error names
    label: str
    split: str | None  # None where the source does not say
    data: bytes  # pixels as decimal text, or an encoded image
    is_text: bool


class Reader(NamedTuple):
    """How one format is recognised, and how faces are read from a file of it."""

    claims: Callable[[Member], bool]
    faces: Callable[[Member], Iterator[Face]]
    one_file: bool  # a source holds exactly one such file


@dataclass(frozen=True)
class Source:
    """A readable source: where it is, its format (a key of READERS) and its container."""

    path: Path
    format: str

    def faces(self) -> Iterator[Face]:
        """Every face, in the order of the CSV, the sorted names (folder, zip) or the archive (tar)."""
        reader = READERS[self.format]
        for member in members(self.path):
            if reader.claims(member):
                yield from reader.faces(member)

    def sha256(self) -> str:
        """sha256 (hex) of the file, or of a folder's names and contents."""
        if self.path.is_file():
            with reading(str(self.path)), open(self.path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha256()
        for member in members(self.path):
            with reading(member.name), member.open() as file:
                whole.update(member.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())  # pyright: ignore[reportArgumentType]
        return whole.hexdigest()


def open_source(path: Path) -> Source:
    """Find out what `path` holds. InputError where it is missing, broken, empty, or holds more than one format."""
    path = Path(path)
    claimed: dict[str, list[str]] = {}
    for member in members(path):
        for name, reader in READERS.items():
            if reader.claims(member):
                claimed.setdefault(name, []).append(member.name)
    if not claimed:
        raise InputError(
            f"{path} holds no faces: expected a CSV with the columns emotion,pixels,Usage or images in class folders"
        )
    if len(claimed) > 1:
        found = " and ".join(f"{name} ({files[0]})" for name, files in claimed.items())
        raise InputError(f"{path} is ambiguous: it holds {found}; give the one that you mean")
    ((name, files),) = claimed.items()
    if READERS[name].one_file and len(files) > 1:
        raise InputError(f"{path} is ambiguous: it holds {' and '.join(files[:3])}; give the one that you mean")
    return Source(path, name)


def decode(face: Face) -> np.ndarray:
    """Pixels (H, W) uint8, gray, in the source's own size. InputError (naming the face) where they are broken."""
    return _decode_text(face) if face.is_text else _decode_image(face)


def fit(pixels: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 → image_size uint8: averaged over areas when shrunk, cubic when enlarged, untouched if it fits."""
    if pixels.shape == tuple(image_size):
        return pixels
    import cv2

    shrinks = pixels.shape[0] * pixels.shape[1] > image_size[0] * image_size[1]
    return cv2.resize(pixels, image_size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _decode_text(face: Face) -> np.ndarray:
    if face.data.translate(None, b"0123456789 \t\r\n"):
        raise InputError(f"{face.source}: pixels are not whole numbers from 0 to 255, separated by blanks")
    values = np.fromstring(face.data, dtype=np.int64, sep=" ") if face.data.strip() else np.empty(0, np.int64)
    side = math.isqrt(len(values))
    if side * side != len(values) or side == 0:
        raise InputError(f"{face.source}: {len(values)} pixels are no square image (48×48 is 2304)")
    if values.max() > 255:
        raise InputError(f"{face.source}: pixel values must lie in 0–255, but got {values.min()}–{values.max()}")
    return values.astype(np.uint8).reshape(side, side)


def _decode_image(face: Face) -> np.ndarray:
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_IMAGE_PIXELS))  # its own limit is gigabytes
    import cv2

    try:
        with silent_stderr():  # where libpng and others also say what they trip over
            pixels = cv2.imdecode(np.frombuffer(face.data, np.uint8), cv2.IMREAD_GRAYSCALE) if face.data else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InputError(f"{face.source}: not a readable image")
    return np.asarray(pixels, np.uint8)


# --- formats ---


class _NoCSV(InputError):
    """Its bytes can be had, but make no CSV."""


def _csv_rows(member: Member) -> Iterator[list[str]]:
    """Rows of a CSV, streamed; the header is the first, stripped."""
    with reading(member.name), member.open() as file:
        rows = csv.reader(_lines(io.TextIOWrapper(file, encoding="utf-8-sig", newline="")))
        try:
            yield [name.strip() for name in next(rows, [])]
            yield from rows
        except (csv.Error, UnicodeDecodeError) as error:
            raise _NoCSV(f"{member.name} is no CSV, line {rows.line_num + 1}: {error}") from None


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines of `text`, none of them held that is longer than any row of faces (a few bytes of zip may stand for it)."""
    while line := text.readline(MAX_LINE_CHARS):
        if len(line) == MAX_LINE_CHARS:
            raise csv.Error(f"longer than {MAX_LINE_CHARS:,} characters")
        yield line


def _is_csv(member: Member) -> bool:
    if not member.name.lower().endswith(".csv"):
        return False
    try:
        return {"emotion", "pixels", "Usage"} <= set(next(_csv_rows(member)))
    except _NoCSV:
        return False


def _read_csv(member: Member) -> Iterator[Face]:
    """FER2013 as Kaggle serves it; icml_face_data.csv has blanks before its column names."""
    name = PurePosixPath(member.name).name
    rows = _csv_rows(member)
    header = next(rows)
    emotion, pixels, usage = (header.index(column) for column in ("emotion", "pixels", "Usage"))
    expected = None
    for number, row in enumerate(rows, start=1):
        where = f"{name} row {number}"
        if not row:
            continue
        if len(row) != len(header):
            raise InputError(f"{where}: {len(row)} columns found, {len(header)} expected ({','.join(header)})")
        found = len(row[pixels].split())
        expected = expected or found
        if found != expected:
            raise InputError(f"{where}: {found} pixels found, {expected} expected")
        if row[emotion].strip() not in {str(index) for index in range(len(CSV_LABELS))}:
            raise InputError(f"{where}: emotion is '{row[emotion]}', expected 0 (angry) to 6 (neutral)")
        split = USAGES.get(row[usage].strip().lower())
        if split is None:
            raise InputError(f"{where}: Usage is '{row[usage]}', expected Training, PublicTest or PrivateTest")
        yield Face(f"{name}:{number}", CSV_LABELS[int(row[emotion])], split, row[pixels].encode(), is_text=True)


def _is_image(member: Member) -> bool:
    path = PurePosixPath(member.name)
    hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def _read_image(member: Member) -> Iterator[Face]:
    """One image: `[…/][split/]class/file`. FER2013's file names keep the official split where a copy lost it."""
    path = PurePosixPath(member.name)
    folder = path.parent.name
    label = _meaning(folder, CLASS_FOLDERS)
    if label is None:
        known = ", ".join(CLASS_FOLDERS)
        what = f"folder '{folder}' is no known class" if folder else "the image stands in no class folder"
        raise InputError(f"{member.name}: {what}; known are {known}")
    official = re.match(r"(Training|PublicTest|PrivateTest)_\d+", path.name)
    split = USAGES[official[1].lower()] if official else _meaning(path.parent.parent.name, SPLIT_FOLDERS)
    if member.num_bytes > MAX_IMAGE_BYTES:
        raise InputError(f"{member.name}: {member.num_bytes} bytes are too many for an image of a face")
    with reading(member.name), member.open() as file:
        data = file.read()
    yield Face(member.name, label, split, data, is_text=False)


def _meaning(folder: str, names: dict[str, tuple[str, ...]]) -> str | None:
    return next((meaning for meaning, spellings in names.items() if folder.lower() in spellings), None)


READERS = {
    "csv": Reader(_is_csv, _read_csv, one_file=True),
    "folders": Reader(_is_image, _read_image, one_file=False),
}
