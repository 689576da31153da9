"""Draw predictions on images: box, class and confidence on each face, and a grid of labelled faces.

    annotate(photo, [Mark(box, "happy", "happy 93 %")])      # → (H, W, 3) uint8 RGB
    grid([Tile(crop, "happy 93 %", true="sad", right=False)])

Text is drawn by Pillow in the font that it brings, on a plate of the class's colour, so that it can be read on anything.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fersweep.results.predict.emoji import emoji

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

COLOURS: dict[str | None, Colour] = {
    "happy": (255, 205, 40),
    "sad": (70, 130, 235),
    "neutral": (225, 225, 225),
    "angry": (225, 60, 45),
    "surprise": (250, 140, 215),
    "fear": (165, 110, 240),
    "disgust": (110, 180, 60),
    "contempt": (200, 140, 80),
    None: (150, 150, 150),  # no expression found
}
OTHER: Colour = (60, 190, 190)
RIGHT, WRONG, DARK, PAPER, INK = (60, 160, 70), (210, 45, 45), (20, 20, 20), (255, 255, 255), (40, 40, 40)
MIN_SIDE = 240  # pixels: a smaller image is enlarged, or its labels would hide it
TILE = 112  # pixels, side of a face in a grid


class Mark(NamedTuple):
    """What is drawn of one face."""

    box: Box
    label: str | None
    text: str  # may have several lines


class Tile(NamedTuple):
    """One face of a grid."""

    face: np.ndarray  # (H, W, 3) uint8 RGB
    text: str
    true: str | None = None
    right: bool | None = None  # None: not known


def annotate(image: np.ndarray, marks: Sequence[Mark], emojis: bool = False) -> np.ndarray:
    """A copy of `image` (H, W, 3) uint8 RGB with `marks`, enlarged by a whole factor if it is smaller than MIN_SIDE."""
    import cv2

    factor = enlargement(image.shape[0], image.shape[1])
    drawn = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) if factor > 1 else image.copy()
    height, width = drawn.shape[:2]
    thick, px = max(round(min(height, width) / 250), 2), max(round(min(height, width) / 28), 13)
    boxes = [_times(mark.box, factor) for mark in marks]
    for (left, top, right, bottom), mark in zip(boxes, marks, strict=True):
        for colour, line in ((DARK, thick + 2), (_colour(mark.label), thick)):
            cv2.rectangle(drawn, (left, top), (right, bottom), colour, line)
    plates: list[Box] = []
    for box, mark in zip(boxes, marks, strict=True):
        if emojis and mark.label is not None:
            _place_emoji(drawn, box, mark.label)
        plate = text_plate(mark.text, px, _colour(mark.label))
        others = [other for other in boxes if other != box]
        x, y = _free_place(box, plate.shape[1], plate.shape[0], width, height, plates, others)
        plates.append((x, y, x + plate.shape[1], y + plate.shape[0]))
        _paste(drawn, plate, x, y)
    return drawn


def enlargement(height: int, width: int) -> int:
    """How many times larger an image of height × width pixels is drawn."""
    return math.ceil(MIN_SIDE / max(min(height, width), 1)) if min(height, width) < MIN_SIDE else 1


def _colour(label: str | None) -> Colour:
    return COLOURS.get(label, OTHER)


@functools.lru_cache(1024)
def text_plate(text: str, px: int, colour: Colour) -> np.ndarray:
    """(h, w, 4) uint8 RGBA: `text` in letters `px` high on a plate of `colour`. Read only."""
    from PIL import Image, ImageDraw, ImageFont

    font, pad = ImageFont.load_default(px), max(px // 4, 2)
    left, _, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font)
    # As high as the font's tallest letters, whatever the text: a label keeps its place from frame to frame.
    height = max(bottom, round(px * 1.2))
    plate = Image.new("RGBA", (math.ceil(right - left) + 2 * pad, math.ceil(height) + pad), (*colour, 255))
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    ImageDraw.Draw(plate).multiline_text((pad - left, pad / 2), text, fill=DARK if bright else PAPER, font=font)
    pixels = np.asarray(plate)
    pixels.setflags(write=False)
    return pixels


def _times(box: Box, factor: int) -> Box:
    left, top, right, bottom = box
    return left * factor, top * factor, right * factor, bottom * factor


def _free_place(
    box: Box, w: int, h: int, width: int, height: int, plates: Sequence[Box], others: Sequence[Box]
) -> tuple[int, int]:
    """Left top of a label of w × h: above the box, else below, inside at its top, or inside at its bottom.

    The first that hides the fewest labels (`plates`), then the fewest of the faces `others`.
    """
    left, top, right, bottom = box
    columns = [min(max(x, 0), max(width - w, 0)) for x in (left, right - w)]
    rows = [y for y in (top - h, bottom, max(top, 0), min(bottom, height) - h) if 0 <= y <= height - h]
    places = [(x, y) for y in rows for x in columns] or [(columns[0], 0)]

    def hidden(place: tuple[int, int]) -> tuple[int, int]:
        plate = (*place, place[0] + w, place[1] + h)
        return sum(_overlap(plate, label) for label in plates), sum(_overlap(plate, face) for face in others)

    return min(places, key=hidden)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _place_emoji(image: np.ndarray, box: Box, label: str) -> None:
    """Beside the face: on the right lower corner of its box."""
    size = min(max(round((box[2] - box[0]) * 0.4), 28), 200)
    x = min(max(box[2] - size // 2, 0), max(image.shape[1] - size, 0))
    y = min(max(box[3] - size * 3 // 4, 0), max(image.shape[0] - size, 0))
    _paste(image, emoji(label, size), x, y)


def _paste(image: np.ndarray, patch: np.ndarray, x: int, y: int) -> None:
    """Draw RGBA `patch` on RGB `image` at (x, y), in place; what does not fit is cut off."""
    view = image[y : y + patch.shape[0], x : x + patch.shape[1]]
    patch = patch[: view.shape[0], : view.shape[1]]
    alpha = patch[..., 3:].astype(np.float32) / 255
    view[:] = np.round(patch[..., :3] * alpha + view * (1 - alpha)).astype(np.uint8)


def grid(tiles: Sequence[Tile], columns: int | None = None) -> np.ndarray:
    """Faces in rows with their labels below, (H, W, 3) uint8 RGB. Right predictions are framed green, wrong ones red."""
    import cv2

    columns = columns or min(max(math.ceil(math.sqrt(len(tiles) * 1.3)), 1), 12)
    gap, lines = 6, 1 + any(tile.true is not None for tile in tiles)
    line = 17
    step_x, step_y = TILE + 2 * gap, TILE + 2 * gap + lines * line
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * step_y, columns * step_x, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        x, y = index % columns * step_x + gap, index // columns * step_y + gap
        shrinks = tile.face.shape[0] > TILE
        face = cv2.resize(tile.face, (TILE, TILE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        sheet[y : y + TILE, x : x + TILE] = face
        colour = INK
        if tile.right is not None:
            colour = RIGHT if tile.right else WRONG
            cv2.rectangle(sheet, (x - 2, y - 2), (x + TILE + 1, y + TILE + 1), colour, 3)
        if tile.true is not None:
            _write(sheet, f"true: {tile.true}", x, y + TILE + 3 + line, INK)
        _write(sheet, tile.text, x, y + TILE + 3, colour)
    return sheet


def _write(sheet: np.ndarray, text: str, x: int, y: int, colour: Colour) -> None:
    from PIL import Image, ImageDraw, ImageFont

    font, place = ImageFont.load_default(13), Image.new("L", (TILE + 8, 18))
    ImageDraw.Draw(place).text((0, 0), text, fill=255, font=font)
    _paste(sheet, np.dstack([np.full((18, TILE + 8, 3), colour, np.uint8), np.asarray(place)]), x, y)
