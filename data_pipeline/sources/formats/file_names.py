"""What a file's name says of the face in it, in the datasets that name persons: CK+, JAFFE, KDEF, RaFD.

    S010_004_00000017.png                                CK+: person, sequence, frame
    KA.AN1.39.tiff                                       JAFFE: the first angry face of the person KA
    AF01ANS.JPG                                          KDEF: session A, the woman 01, angry, straight
    Rafd090_01_Caucasian_female_angry_frontal.jpg        RaFD: from the front, the person 01, angry, gaze to the front

Stems may go on behind that: copies are called `…_flipped.png`, `… (1).png`.
"""

import re
from typing import NamedTuple

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
_CKPLUS = re.compile(r"(S\d{3})_\d{3}_\d{8}(?:\D.*)?")
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


def person_of(stem: str) -> str | None:
    """Who it is, where the name is one of those above."""
    if name := _CKPLUS.fullmatch(stem):
        return name[1]
    said = jaffe(stem) or kdef(stem) or rafd(stem)
    return said and said.subject
