"""Images in class folders, `[…/][split/]class/file` or `class/person/file`; and the jonathanoheix copy of FER2013, which is laid out like that."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from fersweep.data_pipeline.sources.containers import Files
from fersweep.data_pipeline.sources.formats.file_names import person_of
from fersweep.data_pipeline.sources.formats.reader import RawFace, Reader
from fersweep.data_pipeline.sources.labels import is_no_class, label_of
from fersweep.data_pipeline.sources.pictures import is_picture
from fersweep.data_pipeline.sources.split_names import split_of, split_of_folders

OFFICIAL = re.compile(r"(Training|PublicTest|PrivateTest)_\d+")  # FER2013's file names keep the official split
JONATHANOHEIX = re.compile(r"(?:.*/)?images/(?:train|validation)/[a-z]+/\d+\.jpg")
NO_CLASS = "in no class folder"


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    for member in files:
        if is_picture(member):
            path = PurePosixPath(member.name)
            folder, below = class_folder(path)
            above = path.parts[: -2 - bool(below)]
            official = OFFICIAL.match(path.name)
            split = split_of(official[1]) if official else split_of_folders([*above, *below])
            person = next((name for name in below if any(letter.isdigit() for letter in name)), None)
            drop = None if folder else NO_CLASS
            yield RawFace(member.name, folder, member, split, person_of(path.stem) or person, drop=drop)


def class_folder(path: PurePosixPath) -> tuple[str, list[str]]:
    """The folder that is the class of a file, and one of a person or a split below it: angry/0.png, angry/S010/0.png."""
    folder, above = path.parent.name, path.parent.parent.name
    if label_of(folder) is None and label_of(above) is not None and (folder.isdecimal() or is_no_class(folder)):
        return above, [folder]
    return folder, []


FOLDERS = Reader(
    kind="image",
    expects="images in class folders",
    fits=lambda clue: clue.is_image,
    claims=lambda clue: clue.is_image and label_of(class_folder(PurePosixPath(clue.name))[0]) is not None,
    read=_read,
)
JONATHANOHEIX_FOLDERS = Reader(
    kind="image",
    expects="images/train and images/validation with class folders",
    fits=lambda clue: clue.is_image,
    claims=lambda clue: clue.is_image and JONATHANOHEIX.fullmatch(clue.place) is not None,
    read=_read,
    warning=(
        "its splits mix FER2013's official ones, so scores on it do not compare with others': --split stratified draws "
        "new ones, FER2013's CSV has the official ones (are these other images? --format folders)"
    ),
)
