"""AffectNet as its cropped release is laid out: `train_set/images/0.jpg` with `train_set/annotations/0_exp.npy`, and `val_set`.

The label is the one number of `_exp.npy`, mostly a text ('1'); `_val`, `_aro` and `_lnd` are not read. In a tar an image
and its label may be far apart, so labels are read first and kept by name, some 200 bytes each.
"""

import io
import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Files, Member, reading
from fersweep.data_pipeline.sources.formats.affectnet import NO_CLASSES, class_of
from fersweep.data_pipeline.sources.formats.reader import MISSING, NO_LABEL, RawFace, Reader
from fersweep.data_pipeline.sources.pictures import is_picture
from fersweep.data_pipeline.sources.split_names import split_of_folders

IMAGE = re.compile(r"((?:.*/)?)images/([^/]+)\.\w+")  # the set's folder, the face's name
LABEL_FILE = re.compile(r"((?:.*/)?)annotations/([^/.][^/]*)_exp\.npy")
MAX_LABEL_BYTES = 4096
MAX_LABELS = 2**20  # AffectNet has 0.3 million with a class
BAD_LABEL = "label cannot be read"


def _read(files: Files, names: tuple[str, ...]) -> Iterator[RawFace]:
    labels = _labels(files)
    unseen, own_name = set(labels), files.path.resolve().name.split(".")[0]
    for member in files:
        image = IMAGE.fullmatch(member.name)
        if image is None or not is_picture(member):
            continue
        key = image[1] + image[2]
        unseen.discard(key)
        expression, split = labels.get(key), split_of_folders(PurePosixPath(image[1] or own_name).parts)
        if expression is None:
            yield RawFace(member.name, "", member, split, drop=BAD_LABEL if key in labels else NO_LABEL)
        elif expression in NO_CLASSES:
            yield RawFace(member.name, "", member, split, drop=NO_CLASSES[expression])
        else:
            label = class_of(expression, f"{image[1]}annotations/{image[2]}_exp.npy")
            yield RawFace(member.name, label, member, split)
    for key in sorted(unseen):
        yield RawFace(key, "", b"", drop=MISSING)


def _labels(files: Files) -> dict[str, str | None]:
    """Set's folder and face's name → AffectNet's id, None where it cannot be read."""
    labels: dict[str, str | None] = {}
    for member in files:
        if name := LABEL_FILE.fullmatch(member.name):
            if len(labels) == MAX_LABELS:
                raise InputError(f"{member.name}: more than {MAX_LABELS:,} annotations; give one set at a time")
            labels[name[1] + name[2]] = _label(member)
    return labels


def _label(member: Member) -> str | None:
    """The one number of an array of numpy's format, of which nothing is unpickled, as text."""
    try:
        with reading(member.name), member.open() as file:
            content = io.BytesIO(file.read(MAX_LABEL_BYTES))
        version = np.lib.format.read_magic(content)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](content)
        if math.prod(shape) != 1 or dtype.kind not in "iufUS":
            return None
        value = np.frombuffer(content.read(dtype.itemsize), dtype)[0]
        number = float(value.decode() if isinstance(value, bytes) else value)
    except (
        Exception
    ):  # InputError, and whatever numpy raises: ValueError, KeyError, SyntaxError, tokenize.TokenError, …
        return None
    return str(int(number)) if number.is_integer() else None


AFFECTNET_NPY = Reader(
    kind="image",
    expects="train_set/images/0.jpg with train_set/annotations/0_exp.npy, and val_set",
    fits=lambda clue: LABEL_FILE.fullmatch(clue.name) is not None,
    read=_read,
    reads=lambda name: re.search(r"annotations/[^/]+\.npy$", name) is not None,
)
