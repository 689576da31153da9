"""Small valid datasets for tests, made in milliseconds without MediaPipe."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_pipeline.schema import BLENDSHAPES, make_rows, write_dataset

IMAGE_SIZE = (48, 48)


def write_tiny_dataset(
    directory: Path,
    num_faces: int = 360,
    classes: Sequence[str] = ("happy", "sad", "neutral"),
    seed: int = 0,
    undetected: float = 0.05,
) -> Path:
    """Write a dataset of `num_faces` random faces to `directory` and return it.

    The label shows in the blendshapes (smile for the first class, frown for the second, brows for the third, …) and in
    the pixels (a bright block per class), with noise: a model reaches about 90 %, not 100 %. Splits are 4:1:1; every
    30th train face has a twin in test; `undetected` of the faces have no blendshapes; the last four scores are dead.
    """
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(num_faces) % len(classes))
    split = np.array([("train", "train", "train", "train", "val", "test")[index % 6] for index in range(num_faces)])

    blendshapes = rng.beta(1.5, 6.0, (num_faces, len(BLENDSHAPES)))
    signals = [(44, 45), (30, 31), (3, 4), (25, 32), (1, 2), (21, 22), (48, 49), (9, 10)]
    for index in range(len(classes)):
        blendshapes[np.ix_(y == index, signals[index])] += 0.2 + 0.1 * rng.random((int((y == index).sum()), 1))
    blendshapes = np.clip(blendshapes, 0.0, 1.0)
    blendshapes[:, -4:] = rng.random((num_faces, 4)) * 1e-4
    blendshapes[rng.random(num_faces) < undetected] = np.nan

    pixels = rng.integers(0, 160, (num_faces, *IMAGE_SIZE))
    for index in range(num_faces):
        row, column = divmod(int(y[index]), 4)
        pixels[index, 24 * row : 24 * row + 24, 12 * column : 12 * column + 12] += 40
    pixels = pixels.astype(np.uint8)

    twin_of: list[str | None] = [None] * num_faces
    source = [f"tiny:{index}" for index in range(num_faces)]
    for index in range(0, num_faces - 5, 30):  # index is a train row, index + 5 a test row
        pixels[index], blendshapes[index], y[index] = pixels[index + 5], blendshapes[index + 5], y[index + 5]
        twin_of[index] = source[index + 5]

    rows = make_rows(
        IMAGE_SIZE,
        pixels=pixels,
        blendshapes=blendshapes.astype(np.float32),
        source=source,
        split=list(split),
        label=[str(classes[index]) for index in y.tolist()],
        duplicate_of=twin_of,
    )
    half = num_faces // 2
    fields = {
        "image_size": IMAGE_SIZE,
        "landmarks": {"border": 0.25, "size": 192, "bundle_sha256": "0" * 64, "mediapipe": "1.2.2"},
        "sources": [],
        "options": {},
        "command": "tests/datasets.py",
    }
    write_dataset(Path(directory), [rows.slice(0, half), rows.slice(half)], fields)
    return Path(directory)
