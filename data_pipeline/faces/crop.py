"""From a picture to its face: found, cropped with the margin that FER2013's faces have, gray.

`prepare` and `predict` follow one rule. A picture of up to SMALL pixels, or one that its face fills, is a face already. In
others the face is found. Where none is found, a picture that is shaped like a crop of a face is kept whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fersweep.data_pipeline.faces.landmarker import Box, Landmarker, faces_in_photo

SMALL = 128  # pixels of the shorter side
FILLS = 0.8  # side of the crop over the picture's shorter side
LONG = 1.5  # longer side over the shorter one: a picture that is longer shows more than its face
CROP_SMALL, CROP_LONG = 512, 1.25  # the same of what may be somebody's crop of a face, though no face is found in it
MAX_FACES = 20

MIN_SIDE = 8  # pixels
MAX_LONG = 4  # longer side over the shorter one
TINY = f"fewer than {MIN_SIDE} pixels a side"
ELONGATED = f"more than {MAX_LONG} times as long as wide"
CONSTANT = "one gray value all over"
BESIDE = "face box outside the picture"


class Crops(NamedTuple):
    """The faces of a picture."""

    faces: list[np.ndarray]
    """Gray (h, w) uint8; none: no face is found."""
    is_whole: bool = False
    """It is the whole of a picture that is no small one, in which no face was found or looked for."""


def degenerate(gray: np.ndarray) -> str | None:
    """Why a picture (H, W) uint8 can show no face, as a short constant; None: it can."""
    short, long = sorted(gray.shape)
    if short < MIN_SIDE:
        return TINY
    if long > MAX_LONG * short:
        return ELONGATED
    return CONSTANT if gray.min() == gray.max() else None


def is_beside(box: Box, shape: Sequence[int]) -> bool:
    """Does no pixel of a picture (H, W) lie in the box?"""
    left, top, right, bottom = box
    return right <= 0 or bottom <= 0 or left >= shape[1] or top >= shape[0]


def to_gray(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB → (H, W) uint8. Gray pictures keep their values."""
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def face_crops(picture: np.ndarray, finder: Callable[[], Landmarker] | None, box: Box | None, all_faces: bool) -> Crops:
    """The face of `picture` (H, W, 3) uint8 RGB, the largest of several; or all of them, from left to right.

    Args:
        finder: returns a landmarker made with num_faces=MAX_FACES; called only where it is needed. None: nothing is
            looked for, and every picture is kept whole.
        box: (left, top, right, bottom) of the face where the source has it; made square, not searched.
    """
    gray = to_gray(picture)
    if finder is None:
        return Crops([gray], not is_small(gray))
    if box is not None and not all_faces:
        return Crops([_square(gray, box)])
    if all_faces:
        faces = faces_in_photo(picture, finder(), None)
    else:
        faces = find_faces(picture, gray, finder)
        faces = faces and [max(faces, key=lambda face: len(face[1]))]
    if faces:
        return Crops([crop for _, crop in faces])
    if min(gray.shape) <= SMALL or (not all_faces and is_crop(gray)):
        return Crops([gray], not is_small(gray))
    return Crops([])


def find_faces(
    picture: np.ndarray, gray: np.ndarray, finder: Callable[[], Landmarker], several: bool = False
) -> list[tuple[Box, np.ndarray]]:
    """(box, crop) of the faces of a picture, from left to right: see `landmarker.faces_in_photo`.

    The whole picture, and nothing else, where it is a face already. `several`: small faces are looked for beside large
    ones, too.
    """
    whole = ((0, 0, gray.shape[1], gray.shape[0]), gray)
    if is_small(gray):
        return [whole]
    large = faces_in_photo(picture, finder(), [])
    faces = large or faces_in_photo(picture, finder(), None)
    if faces and _fills(max(len(crop) for _, crop in faces), gray):
        return [whole]
    return faces_in_photo(picture, finder(), None) if large and several else faces


def is_small(gray: np.ndarray) -> bool:
    """Is it so small that it is taken for a face?"""
    short, long = sorted(gray.shape)
    return short <= SMALL and long <= LONG * short


def is_crop(gray: np.ndarray) -> bool:
    """Is it shaped like somebody's crop of a face?"""
    short, long = sorted(gray.shape)
    return short <= CROP_SMALL and long <= CROP_LONG * short


def _fills(side: int, gray: np.ndarray) -> bool:
    short, long = sorted(gray.shape)
    return side >= FILLS * short and long <= LONG * short


def _square(gray: np.ndarray, box: Box) -> np.ndarray:
    """The square around `box`, black beyond the picture."""
    import cv2

    left, top, right, bottom = box
    height, width = gray.shape
    side = max(right - left, bottom - top, 2)
    if side > 2 * max(height, width) or is_beside(box, gray.shape):
        return gray  # the box is not of this picture
    left, top = (left + right - side) // 2, (top + bottom - side) // 2
    margin = max(0, -left, -top, left + side - width, top + side - height)
    wide = cv2.copyMakeBorder(gray, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    return np.ascontiguousarray(wide[top + margin : top + margin + side, left + margin : left + margin + side])


def fit(pixels: np.ndarray, image_size: Sequence[int], keeps_aspect: bool = False) -> np.ndarray:
    """(H, W) uint8 → image_size uint8: averaged over areas when shrunk, cubic when enlarged, untouched if it fits.

    keeps_aspect: a picture of another shape is made to fit inside, with black at two of its sides; else it is stretched.
    """
    import cv2

    height, width = image_size
    if keeps_aspect:
        scale = min(height / pixels.shape[0], width / pixels.shape[1])
        inner = max(round(pixels.shape[0] * scale), 1), max(round(pixels.shape[1] * scale), 1)
    else:
        inner = height, width
    if pixels.shape != inner:
        shrinks = pixels.shape[0] * pixels.shape[1] > inner[0] * inner[1]
        pixels = cv2.resize(pixels, inner[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    if inner == (height, width):
        return pixels
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    bottom, right = height - inner[0] - top, width - inner[1] - left
    return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
