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
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np

from data_pipeline.errors import InputError

MAX_IMAGE_BYTES = 64 * 2**20
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
BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


class Face(NamedTuple):
    """One face, not yet decoded."""

    source: str  # file and row, or path within the source: what an error names
    label: str
    split: str | None  # None where the source does not say
    data: bytes  # pixels as decimal text, or an encoded image
    is_text: bool


class Member(NamedTuple):
    """One file of a source. `open` streams it, and is valid until the next member is asked for."""

    name: str
    num_bytes: int
    open: Callable[[], IO[bytes]]


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
        for member in _members(self.path):
            if reader.claims(member):
                yield from reader.faces(member)

    def sha256(self) -> str:
        """sha256 (hex) of the file, or of a folder's names and contents."""
        if self.path.is_file():
            with open(self.path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha256()
        for member in _members(self.path):
            with member.open() as file:
                whole.update(member.name.encode() + b"\0" + hashlib.sha256(file.read()).digest())
        return whole.hexdigest()


def open_source(path: Path) -> Source:
    """Find out what `path` holds. InputError where it is missing, broken, empty, or holds more than one format."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: give a CSV, a folder of images, or a .zip, .tar or .tar.gz of either")
    claimed: dict[str, list[str]] = {}
    for member in _members(path):
        for name, reader in READERS.items():
            if reader.claims(member):
                claimed.setdefault(name, []).append(member.name)
    if not claimed:
        raise InputError(
            f"{path} holds no faces: expected a CSV with the columns emotion,pixels,Usage or images in class folders"
        )
    if len(claimed) > 1:
        found = " and ".join(f"{name} ({members[0]})" for name, members in claimed.items())
        raise InputError(f"{path} is ambiguous: it holds {found}; give the one that you mean")
    ((name, members),) = claimed.items()
    if READERS[name].one_file and len(members) > 1:
        raise InputError(f"{path} is ambiguous: it holds {' and '.join(members[:3])}; give the one that you mean")
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
    try:
        values = np.fromstring(face.data.decode("ascii"), dtype=np.int32, sep=" ")
    except (ValueError, DeprecationWarning):
        raise InputError(f"{face.source}: pixels are not whole numbers separated by blanks") from None
    side = math.isqrt(len(values))
    if side * side != len(values) or side == 0:
        raise InputError(f"{face.source}: {len(values)} pixels are no square image (48×48 is 2304)")
    if values.min() < 0 or values.max() > 255:
        raise InputError(f"{face.source}: pixel values must lie in 0–255, but got {values.min()}–{values.max()}")
    return values.astype(np.uint8).reshape(side, side)


def _decode_image(face: Face) -> np.ndarray:
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(face.data, np.uint8), cv2.IMREAD_GRAYSCALE) if face.data else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InputError(f"{face.source}: not a readable image")
    return np.asarray(pixels, np.uint8)


# --- formats ---


def _csv_rows(member: Member) -> Iterator[list[str]]:
    """Rows of a CSV, streamed; the header is the first, stripped."""
    with member.open() as file:
        try:
            rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
            yield [name.strip() for name in next(rows, [])]
            yield from rows
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{member.name} is no CSV: {error}") from None


def _is_csv(member: Member) -> bool:
    if not member.name.lower().endswith(".csv"):
        return False
    try:
        return {"emotion", "pixels", "Usage"} <= set(next(_csv_rows(member)))
    except InputError:
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
    with member.open() as file:
        yield Face(member.name, label, split, file.read(), is_text=False)


def _meaning(folder: str, names: dict[str, tuple[str, ...]]) -> str | None:
    return next((meaning for meaning, spellings in names.items() if folder.lower() in spellings), None)


READERS = {
    "csv": Reader(_is_csv, _read_csv, one_file=True),
    "folders": Reader(_is_image, _read_image, one_file=False),
}


# --- containers ---


def _members(path: Path) -> Iterator[Member]:
    """Files of a folder (sorted), a zip (sorted) or a tar (its order), or the file itself."""
    name = path.name.lower()
    if path.is_dir():
        for file in sorted(path.rglob("*"), key=lambda file: file.relative_to(path).as_posix()):
            if file.is_file():
                relative = file.relative_to(path).as_posix()
                yield Member(relative, file.stat().st_size, lambda file=file: file.open("rb"))
        return
    if name.endswith((".zip", ".tar", ".tar.gz", ".tgz")):
        try:
            yield from _zip(path) if name.endswith(".zip") else _tar(path)
        except BROKEN_ARCHIVE as error:
            raise InputError(
                f"{path} is no readable archive: {str(error).splitlines()[0] if str(error) else error!r}"
            ) from None
        return
    yield Member(path.name, path.stat().st_size, lambda: path.open("rb"))


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if not info.is_dir():
                yield Member(info.filename, info.file_size, lambda info=info: archive.open(info))


def _tar(path: Path) -> Iterator[Member]:
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isfile():
                yield Member(info.name, info.size, lambda info=info: archive.extractfile(info) or io.BytesIO())
        # tarfile takes a cut header for the end; a whole archive ends with a block of zeros
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends too early")
