"""FER2013 as Kaggle serves it, `emotion,pixels,Usage` (icml_face_data.csv: with blanks before the names), and CK+ in the
same columns (ckextended.csv)."""

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member
from fersweep.data_pipeline.sources.formats.csv_files import chosen, split_of, whole_rows
from fersweep.data_pipeline.sources.formats.reader import Clue, RawFace, Reader

FER2013_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # ids 0–6
CKEXTENDED_LABELS = (*FER2013_LABELS, "contempt")
COLUMNS = ("emotion", "pixels", "Usage")
_USAGES = ("training", "publictest", "privatetest")


def read_rows(member: Member, labels: tuple[str, ...]) -> Iterator[RawFace]:
    """Rows of one CSV: pixels as text. InputError at the first that is not like the others."""
    name = PurePosixPath(member.name).name
    label_of = {str(index): label for index, label in enumerate(labels)}
    expected = None
    for number, (emotion, pixels, usage) in whole_rows(member, COLUMNS):
        where = f"{name} row {number}"
        num_pixels = pixels.count(" ") + 1
        if num_pixels != expected:  # also where blanks are doubled
            num_pixels = len(pixels.split())
            expected = expected or num_pixels
            if num_pixels != expected:
                raise InputError(f"{where}: {num_pixels} pixels found, {expected} expected")
        label = label_of.get(emotion.strip())
        if label is None:
            ckplus = "; CK+ in these columns has 7 for contempt: --format ckextended" if emotion.strip() == "7" else ""
            last = len(labels) - 1
            raise InputError(f"{where}: emotion is '{emotion}', expected 0 (angry) to {last} ({labels[last]}){ckplus}")
        split = split_of(usage) if usage.strip().lower() in _USAGES else None
        if split is None:
            raise InputError(f"{where}: Usage is '{usage}', expected Training, PublicTest or PrivateTest")
        yield RawFace(f"{name}:{number}", label, pixels.encode(), split)


def _read(files: Files, names: tuple[str, ...], *, labels: tuple[str, ...]) -> Iterator[RawFace]:
    for member in chosen(files, names):
        yield from read_rows(member, labels)


def is_pixel_table(clue: Clue) -> bool:
    return set(COLUMNS) <= set(clue.columns)


def _is_ckextended(clue: Clue) -> bool:
    return is_pixel_table(clue) and PurePosixPath(clue.name).name.lower() == "ckextended.csv"


FER2013_CSV = Reader(
    kind="text",
    expects="a CSV with the columns emotion,pixels,Usage",
    fits=is_pixel_table,
    claims=lambda clue: is_pixel_table(clue) and not _is_ckextended(clue),
    read=partial(_read, labels=FER2013_LABELS),
    listed=True,
)
CKEXTENDED = Reader(
    kind="text",
    expects="ckextended.csv with the columns emotion,pixels,Usage",
    fits=is_pixel_table,
    claims=_is_ckextended,
    read=partial(_read, labels=CKEXTENDED_LABELS),
    listed=True,
    warning="its splits are not by person: the same people are in train, val and test, so scores on it flatter",
)
