"""From a picture to its face: found, cropped with the margin that FER2013's faces have, gray.

`auto` leaves alone what is a face already: a picture of up to SMALL pixels, or one that its face fills.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fersweep.data_pipeline.faces.landmarker import Box, Landmarker, faces_in_photo

SMALL = 128  # pixels of the shorter side
FILLS = 0.8  # side of the crop over the picture's shorter side
MAX_FACES = 20


def face_crops(
    picture: np.ndarray, finder: Callable[[], Landmarker], box: Box | None, all_faces: bool
) -> list[np.ndarray]:
    """Gray crops (h, w) uint8 of the faces of `picture` (H, W, 3) uint8 RGB: the largest, or all from left to right.

    Args:
        finder: returns a landmarker made with num_faces=MAX_FACES; called only where it is needed.
        box: (left, top, right, bottom) of the face where the source has it; made square, not searched.

    Empty: a picture of more than SMALL pixels in which no face is found.
    """
    import cv2

    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if box is not None and not all_faces:
        return [_square(gray, box)]
    short = min(gray.shape)
    if short <= SMALL and not all_faces:
        return [gray]
    faces = faces_in_photo(picture, finder(), None if all_faces else []) or faces_in_photo(picture, finder())
    crops = [crop for _, crop in faces]
    if all_faces:
        return crops or ([gray] if short <= SMALL else [])
    if not crops:
        return []
    largest = max(crops, key=len)
    return [gray if len(largest) >= FILLS * short else largest]


def _square(gray: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """The square around `box`, black beyond the picture."""
    import cv2

    left, top, right, bottom = box
    height, width = gray.shape
    side = max(right - left, bottom - top, 2)
    if side > 2 * max(height, width) or right <= 0 or bottom <= 0 or left >= width or top >= height:
        return gray  # the box is not of this picture
    left, top = (left + right - side) // 2, (top + bottom - side) // 2
    margin = max(0, -left, -top, left + side - width, top + side - height)
    wide = cv2.copyMakeBorder(gray, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    return np.ascontiguousarray(wide[top + margin : top + margin + side, left + margin : left + margin + side])


def fit(pixels: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 → image_size uint8: averaged over areas when shrunk, cubic when enlarged, untouched if it fits."""
    if pixels.shape == tuple(image_size):
        return pixels
    import cv2

    shrinks = pixels.shape[0] * pixels.shape[1] > image_size[0] * image_size[1]
    return cv2.resize(pixels, image_size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
