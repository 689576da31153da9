"""Simple faces for expressions, drawn here: no font, no picture file.

emoji("happy", 48)     # (48, 48, 4) uint8 RGBA, transparent around the face
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL import ImageDraw


FINE = 4  # drawn so many times larger, then shrunk: smooth edges
INK, WHITE, TEAR = (60, 40, 20), (255, 255, 255), (70, 160, 240)
SKIN = {"angry": (240, 105, 75), "disgust": (150, 195, 80), "fear": (165, 190, 235)}
YELLOW, GRAY = (255, 210, 70), (190, 190, 190)

Point = tuple[float, float]  # of a face from (0, 0), its left top, to (1, 1)


class Look(NamedTuple):
    """What makes an expression: brows as heights (outer end, inner end), None for none; eyes (radius); the mouth's line."""

    brows: Point | None
    eyes: float
    mouth: Sequence[Point]
    open: bool = False  # the mouth's line is the edge of a hole


def _curve(depth: float, left: float = 0.28, right: float = 0.72, y: float = 0.68) -> list[Point]:
    """A parabola from (left, y) to (right, y), `depth` lower in its middle."""
    return [(left + (right - left) * t, y + depth * 4 * t * (1 - t)) for t in np.linspace(0, 1, 25)]


def _wave(y: float = 0.72) -> list[Point]:
    return [(0.3 + 0.4 * t, y + 0.025 * float(np.sin(6 * np.pi * t))) for t in np.linspace(0, 1, 49)]


def _oval(width: float, height: float, y: float = 0.72) -> list[Point]:
    return [(0.5 + width * float(np.cos(a)), y + height * float(np.sin(a))) for a in np.linspace(0, 2 * np.pi, 40)]


LOOKS = {
    "happy": Look(None, 0.055, [*_curve(0.2, y=0.6), (0.28, 0.6)], open=True),
    "sad": Look((0.31, 0.24), 0.05, _curve(-0.1, y=0.76)),
    "neutral": Look(None, 0.055, [(0.32, 0.7), (0.68, 0.7)]),
    "angry": Look((0.26, 0.36), 0.05, _curve(-0.09, y=0.76)),
    "surprise": Look((0.2, 0.18), 0.04, _oval(0.1, 0.13), open=True),
    "fear": Look((0.26, 0.19), 0.03, _oval(0.16, 0.07), open=True),
    "disgust": Look((0.27, 0.32), 0.045, _wave()),
    "contempt": Look((0.27, 0.27), 0.05, [(0.34, 0.72), (0.56, 0.72), (0.68, 0.64)]),
}


@functools.lru_cache(256)
def emoji(label: str, size: int) -> np.ndarray:
    """(size, size, 4) uint8 RGBA of a label's face; a gray one with a question mark for a label that has none. Read only."""
    from PIL import Image, ImageDraw

    side = size * FINE
    image = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(image)
    skin = SKIN.get(label, YELLOW) if label in LOOKS else GRAY
    draw.ellipse(_box((0.5, 0.5), 0.48, side), fill=skin, outline=INK, width=max(side // 40, 1))
    if label in LOOKS:
        _draw_look(draw, label, side)
    else:
        from PIL import ImageFont

        draw.text((side / 2, side / 2), "?", fill=INK, font=ImageFont.load_default(side * 0.7), anchor="mm")
    pixels = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
    pixels.setflags(write=False)
    return pixels


def _draw_look(draw: ImageDraw.ImageDraw, label: str, side: int) -> None:
    look, width = LOOKS[label], max(side // 22, 1)
    for x, outwards in ((0.33, -1), (0.67, 1)):
        if label in ("fear", "surprise"):
            draw.ellipse(_box((x, 0.42), 0.09, side), fill=WHITE, outline=INK, width=width // 2)
        draw.ellipse(_box((x, 0.42), look.eyes, side), fill=INK)
        if look.brows:
            ends = [(x + outwards * 0.11, look.brows[0]), (x - outwards * 0.09, look.brows[1])]
            draw.line(_scaled(ends, side), fill=INK, width=width)
    if look.open:
        draw.polygon(_scaled(look.mouth, side), fill=INK)
    else:
        draw.line(_scaled(look.mouth, side), fill=INK, width=width, joint="curve")
    if label == "sad":
        draw.ellipse(_box((0.7, 0.58), 0.05, side), fill=TEAR)
        draw.polygon(_scaled([(0.655, 0.565), (0.745, 0.565), (0.7, 0.47)], side), fill=TEAR)


def _scaled(points: Sequence[Point], side: int) -> list[Point]:
    return [(x * side, y * side) for x, y in points]


def _box(centre: Point, radius: float, side: int) -> tuple[float, float, float, float]:
    x, y = centre
    return (x - radius) * side, (y - radius) * side, (x + radius) * side, (y + radius) * side
