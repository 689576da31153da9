"""Faces made on the spot, so that everything can be tried without downloading a dataset.

One portrait (scikit-image's `data.astronaut()`, public domain, NASA) is bent into happy, sad and neutral faces:
smooth Gaussian displacements of mouth corners, lips and brows, then a random pose, light, blur and noise. The classes
overlap a little, as real ones do. MediaPipe reads the smiles and raised brows as it does on real faces.
"""

# scikit-image has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fersweep.common.errors import InputError

CLASSES = ("happy", "sad", "neutral")
FACE_CENTRE, FACE_SIDE = np.array([224.0, 126.0]), 124.0  # of the portrait, in pixels (x, y)

# Where the portrait's features are (x, y) and how far a displacement there reaches (standard deviation), in pixels.
FEATURES = {
    "corner_left": ((202.0, 139.0), 9.5),
    "corner_right": ((245.0, 140.0), 9.5),
    "upper_lip": ((223.0, 141.0), 10.0),
    "lower_lip": ((222.5, 152.0), 10.0),
    "brow_inner_left": ((216.0, 95.0), 7.0),
    "brow_inner_right": ((234.5, 95.5), 7.0),
    "brow_outer_left": ((194.0, 91.0), 8.0),
    "brow_outer_right": ((257.0, 94.0), 8.0),
}
# The portrait smiles. What each class moves: corners inwards and down, lips, inner and outer brows down, in pixels.
MOVES = {
    "happy": {"inwards": -2.0, "corners": -2.0, "upper": 0.0, "lower": 0.0, "inner": 0.0, "outer": 0.0},
    "neutral": {"inwards": 5.0, "corners": 7.5, "upper": 3.0, "lower": -5.0, "inner": 0.0, "outer": 0.0},
    "sad": {"inwards": 4.0, "corners": 12.5, "upper": -3.0, "lower": -3.5, "inner": -5.0, "outer": 2.0},
}


def make_faces(out_dir: Path, num_faces: int = 600, seed: int = 0) -> Path:
    """Write `num_faces` gray faces of 96–128 pixels as `out_dir/<class>/<number>.png`; return `out_dir`.

    A source for `prepare` like any other. The same seed makes the same faces. InputError where `out_dir` is not empty.
    """
    import cv2
    from skimage import data

    out_dir = Path(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise InputError(f"{out_dir} is not empty: give a new directory")
    if num_faces < len(CLASSES):
        raise InputError(f"num_faces: must be {len(CLASSES)} or more, but got {num_faces}")
    portrait = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY)
    rng = np.random.default_rng(seed)
    for name in CLASSES:
        (out_dir / name).mkdir(parents=True, exist_ok=True)
    for number in range(num_faces):
        name = CLASSES[number % len(CLASSES)]
        face = _photograph(portrait, _moves(name, rng), rng)
        cv2.imwrite(str(out_dir / name / f"{number:05d}.png"), face)
    return out_dir


def _moves(name: str, rng: np.random.Generator) -> dict[str, Sequence[float]]:
    """Displacement (x, y) in pixels of each feature: the class's, more or less strong, and some of no meaning."""
    strength = max(rng.normal(1.0, 0.35), 0.2)
    move = {key: strength * value + rng.normal(0.0, 0.9) for key, value in MOVES[name].items()}
    return {
        "corner_left": (move["inwards"], move["corners"] + rng.normal(0.0, 0.7)),
        "corner_right": (-move["inwards"], move["corners"] + rng.normal(0.0, 0.7)),
        "upper_lip": (0.0, move["upper"]),
        "lower_lip": (0.0, move["lower"]),
        "brow_inner_left": (0.0, move["inner"]),
        "brow_inner_right": (0.0, move["inner"]),
        "brow_outer_left": (0.0, move["outer"]),
        "brow_outer_right": (0.0, move["outer"]),
    }


def _photograph(portrait: np.ndarray, moves: dict[str, Sequence[float]], rng: np.random.Generator) -> np.ndarray:
    """The bent portrait (H, W) uint8 in a random pose and light, as a crop of 96–128 pixels."""
    import cv2

    side = int(rng.integers(96, 129))
    angle, scale = np.deg2rad(rng.normal(0.0, 6.0)), FACE_SIDE * rng.uniform(0.92, 1.12) / side
    turn = rng.uniform(0.86, 1.0) * rng.choice([-1.0, 1.0])  # narrower: head turned; negative: mirrored
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1) - (side - 1) / 2  # (side, side, 2)
    grid = grid * scale * np.array([1.0 / turn, 1.0]) + rng.normal(0.0, 3.0, 2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    where = grid @ rotation + FACE_CENTRE
    bend = np.zeros_like(where)
    for name, move in moves.items():
        centre, reach = FEATURES[name]
        weight = np.exp(-((where - np.array(centre)) ** 2).sum(axis=-1, keepdims=True) / (2 * reach**2))
        bend += weight * np.array(move)
    source = (where - bend).astype(np.float32)
    face = cv2.remap(portrait, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.3, 1.3)).astype(np.float32)
    slope = rng.normal(0.0, 0.25, 2)  # light from a side
    light = 1.0 + (grid / FACE_SIDE) @ slope
    face = (face - 128.0) * rng.uniform(0.7, 1.15) * light + 128.0 + rng.normal(0.0, 18.0)
    return np.clip(face + rng.normal(0.0, rng.uniform(2.0, 10.0), face.shape), 0, 255).astype(np.uint8)
