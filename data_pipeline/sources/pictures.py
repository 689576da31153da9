"""What is a picture, for `prepare` and for `predict`: by its name and, where that has no suffix, by its first bytes."""

import functools
from pathlib import PurePosixPath

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.containers import Member, reading
from fersweep.data_pipeline.vocabulary import FORMATS

_BEGINS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"BM")


@functools.cache
def picture_suffixes() -> frozenset[str]:
    """Those that Pillow knows for FORMATS, in lower case, with the dot."""
    from PIL import Image

    Image.init()
    return frozenset(suffix for suffix, name in Image.EXTENSION.items() if name in FORMATS)


def is_hidden(name: str) -> bool:
    """Is a file, or a folder above it, hidden, or what macOS adds to archives?"""
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in PurePosixPath(name).parts)


def is_picture(member: Member) -> bool:
    """Is it named as a picture, or does it begin like one where its name has no suffix? Hidden files are none."""
    suffix = PurePosixPath(member.name).suffix.lower()
    if is_hidden(member.name):
        return False
    return _begins_like_one(member) if suffix == "" else suffix in picture_suffixes()


def _begins_like_one(member: Member) -> bool:
    try:
        with reading(member.name), member.open() as file:
            begin = file.read(16)
    except InputError:
        return False
    return begin.startswith(_BEGINS) or begin[8:12] == b"WEBP" or begin[4:12] in (b"ftypavif", b"ftypavis")
