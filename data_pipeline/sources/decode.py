"""From a face as its source holds it to pixels.

    pixels = decode(face)                  # (H, W) uint8 gray; decode(face, colour=True): (H, W, 3) uint8 RGB

What cannot be decoded is `Broken`, whose `reason` is one of a few constants to count by. Half an image is broken too.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.processes import silent_stderr
from fersweep.data_pipeline.vocabulary import FORMATS

if TYPE_CHECKING:
    from PIL import Image


MAX_IMAGE_BYTES = 64 * 2**20
MAX_IMAGE_PIXELS = 64 * 2**20
ORIENTATION = 0x0112  # EXIF

EMPTY = "empty file"
NO_IMAGE = "not a readable image"
CUT_OFF = "cut off"
TOO_LARGE = "too large"
TOO_DEEP = "more than 16 bits a pixel"
NO_NUMBERS = "pixels not numbers from 0 to 255"
NO_SQUARE = "not a square image"
ELIDED = "numpy left pixels out ('...')"
UNREADABLE = "cannot be read"
NO_PIXELS = "no pixels"

_LIST = bytes.maketrans(b"[](),;", b"      ")
_LIST_CHARS = str.maketrans("[](),;", "      ")

Kind = Literal["text", "image", "scores", "broken"]


class Face(NamedTuple):
    """One face, not yet decoded."""

    source: str
    """File and row, or path within the source: what an error names."""
    label: str
    """One of vocabulary.LABELS."""
    split: str | None
    """None where the source does not say."""
    data: bytes
    """By `kind`: pixels as decimal text, of a square of gray or RGB; an encoded image; 52 scores; or, of a broken one, the reason."""
    kind: Kind
    """"scores": 52 float32, little-endian, in BLENDSHAPES order, NaN where the source has no such column."""
    subject: str | None = None
    """Who it is, where the source knows."""
    votes: tuple[float, ...] | None = None
    """Annotators' votes over LABELS (counts), where the source has them."""
    box: tuple[int, int, int, int] | None = None
    """(left, top, right, bottom) in pixels, where the source knows the face's place in the image."""


class Broken(InputError):
    """A face that cannot be decoded. `reason`: a short constant, the same for all that are broken in this way."""

    def __init__(self, source: str, reason: str, details: str = ""):
        super().__init__(f"{source}: {details or reason}")
        self.source, self.reason, self.details = source, reason, details

    def __reduce__(self) -> tuple[type[Broken], tuple[str, str, str]]:  # through Ray: InputError pickles its message
        return Broken, (self.source, self.reason, self.details)


def decode(face: Face, colour: bool = False) -> np.ndarray:
    """Pixels (H, W) uint8, gray, or (H, W, 3) uint8 RGB where `colour`, in the source's own size, turned upright.

    Of several frames the first; 16-bit pixels lose their low byte; transparent pixels show black. Broken where the face
    is cut off, too large (before its memory is taken) or no image.
    """
    if face.kind == "broken":
        raise Broken(face.source, face.data.decode())
    if face.kind == "scores":
        raise Broken(face.source, NO_PIXELS, "a row of ready-made blendshapes has no pixels")
    if face.kind == "text":
        pixels = _text(face)
        if pixels.ndim == 2:
            return np.repeat(pixels[..., None], 3, axis=2) if colour else pixels
        return pixels if colour else _luminance(pixels)
    return _image(face, colour)


def size_of(face: Face) -> tuple[int, int]:
    """(H, W) of what `decode` returns; of an image only its header is read. Broken where it has none."""
    if face.kind != "image":
        height, width = decode(face).shape
        return height, width
    from PIL import Image

    quiet = silent_stderr() if face.data.startswith((b"II", b"MM")) else contextlib.nullcontext()
    try:
        with warnings.catch_warnings(), quiet:
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(face.data), formats=FORMATS) as image:
                turned = image.getexif().get(ORIENTATION, 1) in range(5, 9)  # by a quarter
                return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # see _image
        raise Broken(face.source, NO_IMAGE if face.data else EMPTY) from None


def _text(face: Face) -> np.ndarray:
    """(H, W) uint8, or (H, W, 3) where there are three numbers a pixel."""
    plain = not face.data.translate(None, b"0123456789 \t\r\n")
    values = np.fromstring(face.data, dtype=np.int64, sep=" ") if plain and face.data.strip() else _numbers(face)
    side = side_of(len(values))
    if not side:
        raise Broken(face.source, NO_SQUARE, f"{len(values)} pixels are no square image (48×48 is 2304)")
    if values.max() > 255 or values.min() < 0:
        seen = f"{values.min():g} to {values.max():g}"
        raise Broken(face.source, NO_NUMBERS, f"pixel values must lie in 0–255 (or 0–1), but go from {seen}")
    return values.astype(np.uint8).reshape((side, side) if side * side == len(values) else (side, side, 3))


def _numbers(face: Face) -> np.ndarray:
    """(N,) whole numbers as they are written in lists, with fractions, or as fractions of 1."""
    text = face.data.translate(_LIST)
    if b"..." in text:
        raise Broken(face.source, ELIDED)
    try:
        if text.translate(None, b"0123456789+-.eE \t\r\n"):
            raise ValueError
        values = np.array(text.split(), np.float64)
    except ValueError:
        raise Broken(face.source, NO_NUMBERS, "pixels are not numbers from 0 to 255, separated by blanks") from None
    # face by face: one of 0 to 255 that has no pixel above 1 is black anyway
    of_one = len(values) > 0 and values.max() <= 1 and b"." in text
    return np.rint(values * 255 if of_one else values)


def numbers_in(text: str) -> list[str]:
    """The numbers of `text`, separated by blanks or as a list: 7, 8 and 9 of "7 8 9" and "[7, 8, 9]"."""
    return text.translate(_LIST_CHARS).split()


def num_pixels(text: str) -> int:
    return len(numbers_in(text))


def side_of(num_pixels: int) -> int:
    """Side of a square image with so many numbers, one or three a pixel; 0: there is none."""
    return next((side for each in (1, 3) if each * (side := math.isqrt(num_pixels // each)) ** 2 == num_pixels), 0)


def _luminance(pixels: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of (H, W, 3) RGB, as Pillow weighs them (ITU-R 601-2)."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).convert("L"))


def _image(face: Face, colour: bool) -> np.ndarray:
    from PIL import Image

    if not face.data:
        raise Broken(face.source, EMPTY)
    if len(face.data) > MAX_IMAGE_BYTES:
        raise Broken(face.source, TOO_LARGE, f"{len(face.data):,} bytes are too many for an image of a face")
    # libtiff, and Pillow's reader of TIFF, also print their errors
    quiet = silent_stderr() if face.data.startswith((b"II", b"MM")) else contextlib.nullcontext()
    try:
        with warnings.catch_warnings(), quiet:
            warnings.simplefilter("ignore")  # about broken EXIF, and about sizes, which are checked here
            with Image.open(io.BytesIO(face.data), formats=FORMATS) as image:
                if image.width * image.height > MAX_IMAGE_PIXELS:
                    raise Broken(face.source, TOO_LARGE, f"{image.width}×{image.height} pixels are too many for a face")
                return _pixels(image, face.source, colour)
    except (Broken, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise Broken(face.source, TOO_LARGE) from None
    except Exception as error:  # whatever Pillow raises: OSError, SyntaxError, ValueError, struct.error, …
        raise Broken(face.source, CUT_OFF if "truncated" in str(error).lower() else NO_IMAGE) from None


def _pixels(image: Image.Image, source: str, colour: bool) -> np.ndarray:
    if not colour and image.format == "JPEG":
        image.draft("L", None)  # pyright: ignore[reportArgumentType]  # the luminance that a colour JPEG holds
    image.load()
    if image.info.get("exif") or image.format == "TIFF":
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # Pillow would cut at 255
        deep = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(deep[..., None], 3, axis=2) if colour else deep
    if image.mode in ("I", "F"):
        raise Broken(source, TOO_DEEP)
    if image.has_transparency_data:
        from PIL import Image

        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    mode = "RGB" if colour else "L"
    return np.array(image if image.mode == mode else image.convert(mode))
