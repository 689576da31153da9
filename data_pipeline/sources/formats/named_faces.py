"""Datasets whose file names say who it is and what is felt, in any folders: JAFFE, KDEF, RaFD.

    KA.AN1.39.tiff                                       JAFFE: the first angry face of the person KA
    AF01ANS.JPG                                          KDEF: session A, the woman 01, angry, straight
    Rafd090_01_Caucasian_female_angry_frontal.jpg        RaFD: from the front, the person 01, angry, gaze to the front

Where somebody has sorted the files into class folders, those say the class; split folders around them are kept.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

from fersweep.data_pipeline.sources.containers import Files
from fersweep.data_pipeline.sources.formats.csv_files import split_of
from fersweep.data_pipeline.sources.formats.folders import is_image
from fersweep.data_pipeline.sources.formats.reader import Clue, RawFace, Reader
from fersweep.data_pipeline.sources.labels import label_of


class Said(NamedTuple):
    """What a file's name says."""

    subject: str
    label: str


CODES = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",  # JAFFE
    "AF": "afraid",  # KDEF
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}
# Person, class and number, picture. Copies write it in small letters, or with _ or - for the dots.
_JAFFE = re.compile(
    r"([A-Z]{2})(?:\.(AN|DI|FE|HA|NE|SA|SU)\d*\.|[._ -](AN|DI|FE|HA|NE|SA|SU)\d+[._ -])\d+(?:\D.*)?", re.IGNORECASE
)
# Session, person (gender and number), class, angle.
_KDEF = re.compile(r"[AB]([FM]\d\d)(AF|AN|DI|HA|NE|SA|SU)(?:S|HL|HR|FL|FR)(?:[\W_].*)?", re.IGNORECASE)
# Camera, person, group and gender, class, gaze.
_RAFD = re.compile(r"Rafd\d+_(\d+)_(?:[a-z]+_)+([a-z]+)_(?:frontal|left|right)(?:[\W_].*)?", re.IGNORECASE)


def jaffe(stem: str) -> Said | None:
    name = _JAFFE.fullmatch(stem)
    return name and Said(name[1].upper(), CODES[(name[2] or name[3]).upper()])


def kdef(stem: str) -> Said | None:
    name = _KDEF.fullmatch(stem)
    return name and Said(name[1].upper(), CODES[name[2].upper()])


def rafd(stem: str) -> Said | None:
    name = _RAFD.fullmatch(stem)
    return Said(name[1], name[2].lower()) if name and label_of(name[2]) else None


def _read(
    files: Files, names: tuple[str, ...], *, parse: Callable[[str], Said | None], other: str
) -> Iterator[RawFace]:
    for member in files:
        if not is_image(member.name):
            continue
        path = PurePosixPath(member.name)
        said, folder = parse(path.stem), path.parent
        if said is None:
            yield RawFace(member.name, "", member, drop=other)
        else:
            label = folder.name if label_of(folder.name) else said.label
            yield RawFace(member.name, label, member, split_of(folder.parent.name), said.subject)


def _reader(name: str, example: str, parse: Callable[[str], Said | None]) -> Reader:
    def fits(clue: Clue) -> bool:
        return clue.is_image and parse(PurePosixPath(clue.name).stem) is not None

    read = partial(_read, parse=parse, other=f"not named as in {name}")
    return Reader(kind="image", expects=f"images named like {example}", fits=fits, read=read)


JAFFE = _reader("JAFFE", "KA.AN1.39.tiff", jaffe)
KDEF = _reader("KDEF", "AF01ANS.JPG", kdef)
RAFD = _reader("RaFD", "Rafd090_01_Caucasian_female_angry_frontal.jpg", rafd)
