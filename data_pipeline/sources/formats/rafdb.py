"""RAF-DB, basic emotions: `list_patition_label.txt` (`train_00001.jpg 5`) beside the images, aligned (…_aligned.jpg) or
as they were found; the aligned ones where both are there."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files
from fersweep.data_pipeline.sources.formats.csv_files import chosen, lines
from fersweep.data_pipeline.sources.formats.reader import MISSING, RawFace, Reader
from fersweep.data_pipeline.sources.pictures import is_picture

CLASSES = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happiness",
    "5": "sadness",
    "6": "anger",
    "7": "neutral",
}
LISTS = ("list_patition_label.txt", "list_partition_label.txt")  # the first is theirs
LINE = re.compile(r"((train|test)_\d+)\.\w+\s+(\S+)\s*")
IMAGE = re.compile(r"((?:train|test)_\d+)(_aligned)?")


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    places: dict[str, str] = {}
    for member in files:
        image = IMAGE.fullmatch(PurePosixPath(member.name).stem)
        if image and is_picture(member) and (image[2] or image[1] not in places):
            places[image[1]] = member.name
    table = [line for member in chosen(files, names) for line in lines(member)]
    for number, line in enumerate(table, start=1):
        if not line.strip():
            continue
        parts = LINE.fullmatch(line)
        if parts is None or parts[3] not in CLASSES:
            raise InputError(f"{names[0]} line {number}: '{line.strip()}' is not like 'train_00001.jpg 5' (1 to 7)")
        place = places.get(parts[1])
        image = None if place is None else files.find(place)
        if image is None:
            yield RawFace(parts[1], CLASSES[parts[3]], b"", parts[2], drop=MISSING)
        else:
            yield RawFace(image.name, CLASSES[parts[3]], image, parts[2])


RAFDB = Reader(
    kind="image",
    expects=f"{LISTS[0]} beside the images that it names",
    fits=lambda clue: PurePosixPath(clue.name).name in LISTS,
    read=_read,
    reads=lambda name: (image := IMAGE.fullmatch(PurePosixPath(name).stem)) is not None and image[2] is None,
    listed=True,
    beside=True,
)
