"""AffectNet: training.csv, validation.csv (subDirectory_filePath, face_x, …, expression) beside folders of photos."""

import posixpath
from collections.abc import Iterator
from pathlib import PurePosixPath

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member
from fersweep.data_pipeline.sources.formats.csv_files import chosen, inside, whole_rows
from fersweep.data_pipeline.sources.formats.reader import MISSING, Clue, RawFace, Reader
from fersweep.data_pipeline.sources.pictures import is_picture

COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "expression")
CLASSES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")  # ids 0–7
NO_CLASSES = {"8": "expression 8: none of the eight", "9": "expression 9: uncertain", "10": "expression 10: no face"}
_IDS = {str(index) for index in range(len(CLASSES))}
SPLITS = {"valid": "val", "test": "test", "train": "train", "automatically": "train"}  # part of a CSV's name → split

Box = tuple[int, int, int, int]


class _Photos:
    """Finds photos by the last two parts of their names, in any folder of the source."""

    def __init__(self, files: Files):
        self.files = files
        self.folders: list[str] | None = None

    def find(self, folder: str, name: str) -> Member | None:
        if (photo := self.files.find(inside(folder, name, folder or "list"))) is not None:
            return photo
        if self.folders is None:
            places = (PurePosixPath(member.name) for member in self.files if is_picture(member))
            self.folders = sorted({str(PurePosixPath(*place.parts[:-2])) for place in places if len(place.parts) > 2})
        for index, place in enumerate(self.folders):
            if (photo := self.files.find(posixpath.join(place, name))) is not None:
                self.folders.insert(0, self.folders.pop(index))  # the next photos are probably there, too
                return photo
        return None


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    photos = _Photos(files)
    for member in chosen(files, names):
        folder, name = posixpath.split(member.name)
        split = next((split for part, split in SPLITS.items() if part in name.lower()), None)
        for number, (path, left, top, width, height, expression) in whole_rows(member, COLUMNS):
            where, expression = f"{member.name} row {number}", expression.strip()
            place = inside("", path, where)
            if expression in NO_CLASSES:
                yield RawFace(place, "", b"", split, drop=NO_CLASSES[expression])
                continue
            label, photo = class_of(expression, where), photos.find(folder, place)
            if photo is None:
                yield RawFace(place, label, b"", split, drop=MISSING)
            else:
                yield RawFace(photo.name, label, photo, split, box=_box(left, top, width, height))


def class_of(expression: str, where: str) -> str:
    """InputError where `expression` is no id of a class."""
    if expression not in _IDS:
        raise InputError(f"{where}: expression is '{expression}', expected 0 (neutral) to 10 (no face)")
    return CLASSES[int(expression)]


def _box(left: str, top: str, width: str, height: str) -> Box | None:
    """None where it says NULL, or nothing of use."""
    try:
        x, y, w, h = (round(float(value)) for value in (left, top, width, height))
    except (ValueError, OverflowError):
        return None
    return (x, y, x + w, y + h) if w > 0 and h > 0 else None


def _is_list(clue: Clue) -> bool:
    return {"subdirectory_filepath", "expression"} <= {column.lower() for column in clue.columns}


AFFECTNET = Reader(
    kind="image",
    expects="CSVs with the columns subDirectory_filePath and expression beside the photos that they name",
    fits=_is_list,
    read=_read,
    listed=True,
    several=True,
    beside=True,
)
