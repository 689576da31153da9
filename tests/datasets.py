"""Small valid datasets for tests, made in milliseconds without MediaPipe."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.data_pipeline.dataset.parts import open_table
from fersweep.data_pipeline.dataset.schema import make_rows
from fersweep.data_pipeline.dataset.seal import write_dataset
from fersweep.data_pipeline.vocabulary import BLENDSHAPES

IMAGE_SIZE = (48, 48)
FIELDS = ("image_size", "landmarks", "sources", "options", "command")


def write_tiny_dataset(
    directory: Path,
    num_faces: int = 360,
    classes: Sequence[str] = ("happy", "sad", "neutral"),
    seed: int = 0,
    undetected: float = 0.05,
    landmarks: bool = False,
    folds: int | None = None,
    origins: Sequence[str] | None = None,
    augmented: bool = False,
    pixels: bool = True,
) -> Path:
    """Write a dataset of `num_faces` random faces to `directory` and return it.

    The label shows in the blendshapes (smile for the first class, frown for the second, brows for the third, …) and in
    the pixels (a bright block per class), with noise: a model reaches about 90 %, not 100 %. Splits are 4:1:1; every
    30th train face has a twin in test; `undetected` of the faces have no blendshapes; the last four scores are dead.

    landmarks: 478 points a face (a grid, turned and scaled; a corner of the mouth moves with the class) and head pose.
    folds: train and val in so many folds, test apart. origins: sources in turns, each with subjects of its own, two
    faces a subject; every 40th train face is a near twin of one in val. augmented: a copy of every train face,
    brighter, in a last part. pixels: False for a dataset of blendshapes alone.
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

    faces = rng.integers(0, 160, (num_faces, *IMAGE_SIZE))
    for index in range(num_faces):
        row, column = divmod(int(y[index]), 4)
        faces[index, 24 * row : 24 * row + 24, 12 * column : 12 * column + 12] += 40
    faces = faces.astype(np.uint8)

    twin_of: list[str | None] = [None] * num_faces
    source = [f"tiny:{index}" for index in range(num_faces)]
    for index in range(0, num_faces - 5, 30):  # index is a train row, index + 5 a test row
        faces[index], blendshapes[index], y[index] = faces[index + 5], blendshapes[index + 5], y[index + 5]
        twin_of[index] = source[index + 5]

    arrays = {"blendshapes": blendshapes.astype(np.float32), "pixels": faces if pixels else None}
    columns: dict = {
        "source": source,
        "split": list(split),
        "label": [str(classes[index]) for index in y.tolist()],
        "duplicate_of": twin_of,
    }
    if landmarks:
        seen = ~np.isnan(blendshapes[:, 0])
        arrays["landmarks"] = _landmarks(y, rng)
        for name in ("yaw", "pitch", "roll"):
            angles = rng.normal(0, 10, num_faces).tolist()
            columns[name] = [angle if found else None for angle, found in zip(angles, seen.tolist(), strict=True)]
        columns |= {
            "num_views": [4 * int(found) for found in seen],
            "spread": [0.03 if found else None for found in seen],
        }
    if folds is not None:
        columns["fold"] = [None if name == "test" else index % folds for index, name in enumerate(split)]
        columns["split"] = ["test" if name == "test" else "train" for name in split]
    if origins is not None:
        columns["origin"] = [origins[index // 2 % len(origins)] for index in range(num_faces)]
        columns["subject"] = [f"{origin}-{index // 2}" for index, origin in enumerate(columns["origin"])]
        columns["near_duplicate_of"] = [source[4] if index % 40 == 0 else None for index in range(num_faces)]
    rows = [make_rows(IMAGE_SIZE if pixels else None, **arrays, **columns)]
    rows = [rows[0].slice(0, num_faces // 2), rows[0].slice(num_faces // 2)]
    if augmented:
        copies = [index for index in range(num_faces) if columns["split"][index] == "train"]
        taken: dict = {name: values and [values[index] for index in copies] for name, values in columns.items()}
        taken["augmentation"] = ["light=1.1"] * len(copies)
        taken |= {name: values if values is None else values[copies] for name, values in arrays.items()}
        taken["pixels"] = np.minimum(faces[copies], 230) + 25
        rows.append(make_rows(IMAGE_SIZE, **taken))
    fields = {
        "image_size": IMAGE_SIZE if pixels else None,
        "landmarks": {"border": 0.25, "size": 192, "views": 4, "bundle_sha256": "0" * 64, "mediapipe": "1.2.2"},
        "sources": [],
        "options": {},
        "command": "tests/datasets.py",
    }
    if not landmarks:
        del fields["landmarks"]["views"]
    if landmarks or not pixels:
        fields["has"] = {"pixels": pixels, "landmarks": landmarks}
    if folds is not None:
        fields["folds"] = folds
    if origins is not None:
        fields["origins"] = {name: {"path": name, "format": "folders"} for name in origins}
    write_dataset(Path(directory), rows, fields)
    return Path(directory)


def write_with_faces_of(directory: Path, given: Mapping[str, np.ndarray]) -> Path:
    """A tiny dataset of other faces, with those that are given, split → (n, 48, 48) uint8, at the end of that split.

    They have no blendshapes but zeros, and are happy. One that is in several splits is marked as a twin.
    """
    write_tiny_dataset(directory, 120, seed=11)
    rows, names = [open_table(directory)], list(given)
    ranks = {"train": 0, "val": 1, "test": 2}
    first: dict[bytes, str] = {}
    for name in sorted(names, key=ranks.__getitem__, reverse=True):
        faces, twins = given[name], [first.get(face.tobytes()) for face in given[name]]
        sources = [f"{name}:{index}" for index in range(len(faces))]
        rows.append(
            make_rows(
                IMAGE_SIZE,
                blendshapes=np.zeros((len(faces), len(BLENDSHAPES)), np.float32),
                pixels=faces,
                source=sources,
                split=[name] * len(faces),
                label=["happy"] * len(faces),
                duplicate_of=twins,
            )
        )
        first |= {face.tobytes(): source for face, source in zip(faces, sources, strict=True)}
    fields = {key: value for key, value in read_manifest(directory).items() if key in FIELDS}
    shutil.rmtree(directory)
    write_dataset(directory, rows, fields)
    return directory


def _landmarks(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, 478, 3) float32: a grid with the outer corners of the eyes (33, 263) where they belong, and noise."""
    grid = np.zeros((478, 3), np.float32)
    grid[:, 0], grid[:, 1] = np.linspace(0.2, 0.8, 478), np.arange(478) % 20 / 20
    grid[33], grid[263] = (0.3, 0.4, 0), (0.7, 0.4, 0)
    points = grid + rng.normal(0, 0.01, (len(y), 478, 3))
    points[:, 61, 1] += 0.05 * y  # a corner of the mouth
    angle = rng.normal(0, 0.2, len(y))
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], 1)
    points[..., :2] = np.einsum("nij,npj->npi", turn, points[..., :2] - 0.5) + 0.5
    return points.astype(np.float32)
