"""CK+, of the person S010, in both of its layouts; split folders around them are kept.

Its last frames in class folders: `CK+48/<class>/S010_004_00000017.png`.

Sequences, as its authors hand them out (Lucey et al. 2010): `cohn-kanade-images/S010/004/S010_004_00000001.png` to their
peak, and `Emotion/S010/004/S010_004_00000017_emotion.txt` with `3.0000000e+00` where there is a label. As is usual, the
last three frames of a labelled sequence are faces of its label, and the first, number 1, is a neutral one.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member, reading
from fersweep.data_pipeline.sources.formats.folders import NO_CLASS
from fersweep.data_pipeline.sources.formats.reader import MISSING, Clue, RawFace, Reader
from fersweep.data_pipeline.sources.pictures import is_picture
from fersweep.data_pipeline.sources.split_names import split_of_folders

NAME = re.compile(r"(?:.*/)?((S\d{3})_\d{3})_(\d{8})(?:[^\d/][^/]*)?\.\w+")  # sequence, person, frame
LABEL_FILE = re.compile(r"(?:.*/)?(S\d{3}_\d{3})_\d{8}_emotion\.txt")
SEQUENCE_FOLDER = re.compile(r"(?:.*/)?S\d{3}/\d{3}/[^/]+")
CLASSES = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")  # ids 0–7
NUM_PEAK_FRAMES = 3
MAX_LABEL_BYTES = 256
OTHER_NAME = "not named as in CK+"
BETWEEN = "frame between neutral and peak"
NO_LABEL = "frame of a sequence without a label"


class _Sequence(NamedTuple):
    """A labelled sequence: its class, and the numbers of its last frames, rising."""

    label: str
    label_file: str
    peak: list[int]


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    sequences = _sequences(files)
    for member in files:
        if not is_picture(member):
            continue
        folder, name = PurePosixPath(member.name).parent, NAME.fullmatch(member.name)
        if name is None:
            yield RawFace(member.name, "", member, drop=OTHER_NAME)
        elif sequences:
            yield _frame(member, name, sequences.get(name[1]))
        elif SEQUENCE_FOLDER.fullmatch(member.name):
            raise InputError(
                f"{member.name} is a frame of one of CK+'s sequences, but their labels are missing: give a folder or an "
                f"archive that holds both the images and Emotion/{name[2]}/…/{name[1]}_…_emotion.txt"
            )
        else:
            drop = None if folder.name else NO_CLASS
            yield RawFace(member.name, folder.name, member, split_of_folders(folder.parts[:-1]), name[2], drop=drop)
    for sequence in sequences.values():
        if not sequence.peak:
            yield RawFace(sequence.label_file, sequence.label, b"", drop=MISSING)


def _frame(member: Member, name: re.Match[str], sequence: _Sequence | None) -> RawFace:
    """A face of a labelled sequence's ends, or a frame that is left out."""
    if sequence is None:
        return RawFace(member.name, "", member, drop=NO_LABEL)
    if int(name[3]) in sequence.peak:
        return RawFace(member.name, sequence.label, member, subject=name[2])
    if int(name[3]) <= 1:
        return RawFace(member.name, CLASSES[0], member, subject=name[2])
    return RawFace(member.name, "", member, drop=BETWEEN)  # nothing that its class loses


def _sequences(files: Files) -> Mapping[str, _Sequence]:
    """The labelled sequences, by S010_004; none where there are no labels."""
    labels: dict[str, tuple[str, str]] = {}
    last: dict[str, list[int]] = defaultdict(list)
    for member in files:
        if file := LABEL_FILE.fullmatch(member.name):
            if (label := _label(member)) is not None:
                labels[file[1]] = (label, member.name)
        elif (frame := NAME.fullmatch(member.name)) and is_picture(member):
            last[frame[1]] = sorted({*last[frame[1]], int(frame[3])})[-NUM_PEAK_FRAMES:]
    return {name: _Sequence(*label, last.get(name, [])) for name, label in labels.items()}


def _label(member: Member) -> str | None:
    """The class that a file says; None: it cannot be read. InputError at a number that is no class of CK+."""
    with reading(member.name), member.open() as file:
        written = file.read(MAX_LABEL_BYTES).decode("utf-8-sig", "replace").strip()
    try:
        number = float(written)
    except ValueError:
        return None
    if number in range(len(CLASSES)):
        return CLASSES[int(number)]
    raise InputError(
        f"{member.name} says {written[:20]!r}, expected the number of an emotion, 0 ({CLASSES[0]}) to {len(CLASSES) - 1} "
        f"({CLASSES[-1]})"
    )


def _is_ckplus(clue: Clue) -> bool:
    pattern = NAME if clue.is_image else LABEL_FILE
    return pattern.fullmatch(clue.name) is not None


CKPLUS = Reader(
    kind="image",
    expects="images named like S010_004_00000017.png, in class folders or beside files like S010_004_00000017_emotion.txt",
    fits=_is_ckplus,
    read=_read,
    reads=lambda name: LABEL_FILE.fullmatch(name) is not None,
)
