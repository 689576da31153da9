"""Every kind of image comes out right: depths, palettes, transparency, several frames, turned."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fersweep.data_pipeline.faces.crop import fit
from fersweep.data_pipeline.sources.decode import Broken, decode
from fersweep.data_pipeline.sources.source import open_source
from tests.sources import encoded, image, pixels


def test_broken_says_why_after_a_journey():
    error = pickle.loads(pickle.dumps(Broken("a.png", "cut off", "half of it")))
    assert (str(error), error.reason) == ("a.png: half of it", "cut off")


def picture() -> np.ndarray:
    """(64, 48, 3) uint8 RGB, smooth, with all of black to white and a red corner."""
    rows, columns = np.mgrid[:64, :48]
    rgb = np.stack([rows * 4, columns * 5, 255 - rows * 2 - columns * 2], axis=-1).clip(0, 255)
    rgb[-16:, -16:] = (255, 0, 0)
    return rgb.astype(np.uint8)


def saved(given: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    given.save(file, kind, **options)
    return file.getvalue()


RGB = Image.fromarray(picture())
GRAY = np.array(RGB.convert("L"))
SIXTEEN = GRAY.astype(np.uint16) * 257
TURNED = Image.fromarray(np.rot90(picture()).copy())
EXIF = Image.Exif()
EXIF[0x0112] = 6  # to be turned by a quarter to the right
ANIMATED = [RGB, RGB.rotate(180)]
KINDS: dict[str, tuple[bytes, float]] = {
    "PNG": (saved(RGB, "PNG"), 0),
    "JPEG": (saved(RGB, "JPEG", quality=98, subsampling=0), 4),
    "CMYK JPEG": (saved(RGB.convert("CMYK"), "JPEG", quality=98, subsampling=0), 4),
    "palette": (saved(RGB.convert("P", palette=Image.Palette.ADAPTIVE, colors=256), "PNG"), 25),
    "opaque": (saved(RGB.convert("RGBA"), "PNG"), 0),
    "16 bits PNG": (encoded(SIXTEEN), 0),
    "16 bits TIFF": (encoded(SIXTEEN, ".tiff"), 0),
    "16 bits PGM": (encoded(SIXTEEN, ".pgm"), 0),
    "16 bits RGB": (encoded(picture()[..., ::-1].astype(np.uint16) * 257), 0),
    "animated PNG": (saved(RGB, "PNG", save_all=True, append_images=ANIMATED[1:]), 0),
    "animated WebP": (saved(RGB, "WEBP", save_all=True, append_images=ANIMATED[1:], lossless=True), 0),
    "turned": (saved(TURNED, "PNG", exif=EXIF), 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_comes_out_right(kind: str):
    data, tolerance = KINDS[kind]
    gray, colour = decode(image(data)), decode(image(data), colour=True)
    expected = np.repeat(GRAY[..., None], 3, axis=2) if kind.startswith("16 bits") and "RGB" not in kind else picture()
    assert (gray.dtype, colour.dtype) == (np.uint8, np.uint8)
    assert np.abs(gray.astype(int) - GRAY).max() <= tolerance
    assert np.abs(colour.astype(int) - expected).max() <= 2 * tolerance


def test_black_and_white_and_transparent_images():
    bits = pixels(1) > 127
    assert (decode(image(saved(Image.fromarray(bits), "PNG"))) == bits * 255).all()
    alpha = Image.merge("LA", [Image.new("L", (9, 9), 200), Image.fromarray(np.eye(9, dtype=np.uint8) * 255)])
    assert (decode(image(saved(alpha, "PNG"))) == np.eye(9) * 200).all()


def test_fit():
    face = pixels(0, 96)
    assert fit(face, (96, 96)) is face
    assert fit(face, (48, 64)).shape == (48, 64)
    assert fit(face, (128, 96)).dtype == np.uint8


def test_fit_keeps_the_aspect():
    face = np.maximum(pixels(0, 96), 1)[:, :64]
    assert (fit(face, (48, 32), keeps_aspect=True) == fit(face, (48, 32))).all()
    assert fit(face, (96, 64), keeps_aspect=True) is face
    padded = fit(face, (48, 48), keeps_aspect=True)
    assert (padded[:, 8:40] == fit(face, (48, 32))).all()
    assert not padded[:, :8].any()
    assert not padded[:, 40:].any()
    assert fit(face.T, (41, 48), keeps_aspect=True).shape == (41, 48)
    assert fit(np.ones((300, 2), np.uint8), (24, 24), keeps_aspect=True).shape == (24, 24)


@pytest.mark.realdata
def test_real_folders_are_decoded_as_before(realdata: Path):
    faces = list(open_source(realdata / "fer2013" / "fer2013_folders_sample.zip").faces())
    assert len(faces) == 2516
    assert {face.split for face in faces} == {"train", "val"}  # `test` there is official PublicTest
    for face in faces:
        before = cv2.imdecode(np.frombuffer(face.data, np.uint8), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(decode(face), before)
