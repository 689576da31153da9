"""CK+ as a folder of its last frames: `CK+48/<class>/S010_004_00000017.png`, of the person S010."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from fersweep.data_pipeline.sources.containers import Files
from fersweep.data_pipeline.sources.formats.folders import NO_CLASS, is_image
from fersweep.data_pipeline.sources.formats.reader import RawFace, Reader

NAME = re.compile(r"(?:.*/)?(S\d{3})_\d{3}_\d{8}\.\w+")  # person, sequence, frame
OTHER_NAME = "not named as in CK+"


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    for member in files:
        if is_image(member.name):
            folder, name = PurePosixPath(member.name).parent.name, NAME.fullmatch(member.name)
            drop = OTHER_NAME if name is None else NO_CLASS if not folder else None
            yield RawFace(member.name, folder, member, subject=name and name[1], drop=drop)


CKPLUS = Reader(
    kind="image",
    expects="class folders of images named like S010_004_00000017.png",
    fits=lambda clue: clue.is_image and NAME.fullmatch(clue.name) is not None,
    read=_read,
)
