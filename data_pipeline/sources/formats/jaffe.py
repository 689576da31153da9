"""JAFFE: `KA.AN1.39.tiff` is the first angry face of the person KA, in any folder."""

import re
from collections.abc import Iterator

from fersweep.data_pipeline.sources.containers import Files
from fersweep.data_pipeline.sources.formats.folders import is_image
from fersweep.data_pipeline.sources.formats.reader import RawFace, Reader

CLASSES = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}
NAME = re.compile(rf"(?:.*/)?([A-Z]{{2}})\.({'|'.join(CLASSES)})\d*\.\d+\.\w+")  # person, class and number, picture
OTHER_NAME = "not named as in JAFFE"


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    for member in files:
        if is_image(member.name):
            name = NAME.fullmatch(member.name)
            if name is None:
                yield RawFace(member.name, "", member, drop=OTHER_NAME)
            else:
                yield RawFace(member.name, CLASSES[name[2]], member, subject=name[1])


JAFFE = Reader(
    kind="image",
    expects="images named like KA.AN1.39.tiff",
    fits=lambda clue: clue.is_image and NAME.fullmatch(clue.name) is not None,
    read=_read,
)
