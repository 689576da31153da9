"""Faces that are made up, to try a trainable on: seven classes that can be told apart, from noise."""

from __future__ import annotations

import numpy as np

from fersweep.data_pipeline.tasks.arrays import Arrays, TaskArrays, statistics
from fersweep.data_pipeline.tasks.features import Features, landmark_names
from fersweep.data_pipeline.vocabulary import BLENDSHAPES, LABELS

NUM_TRAIN, NUM_VAL = 140, 70
SIDE = 48  # of a face, in pixels


def made_up_arrays(features: Features, seed: int = 0) -> TaskArrays:
    """Arrays of a task with these features, always the same: 20 train and 10 val faces of each of the seven classes."""
    rng, classes = np.random.default_rng(seed), [str(label) for label in LABELS[:7]]
    y = np.tile(np.arange(len(classes), dtype=np.int32), (NUM_TRAIN + NUM_VAL) // len(classes))
    names = _names(features)
    if features == "pixels":
        means = rng.normal(size=(len(classes), SIDE // 8, SIDE // 8)).repeat(8, axis=1).repeat(8, axis=2)
        x = np.clip(128 + 25 * means[y] + 25 * rng.normal(size=(len(y), SIDE, SIDE)), 0, 255).astype(np.uint8)
    else:
        means = rng.normal(size=(len(classes), len(names)))
        x = (1 / (1 + np.exp(1 - means[y] - 1.5 * rng.normal(size=(len(y), len(names)))))).astype(np.float32)
    parts = [
        Arrays(
            x[rows],
            y[rows],
            np.ones(len(y[rows]), np.float32),
            np.array([f"{row:064x}" for row in range(len(y))])[rows],
        )
        for rows in (slice(NUM_TRAIN), slice(NUM_TRAIN, None))
    ]
    of_train = statistics(parts[0].x, parts[0].y, len(classes))
    return TaskArrays(
        train=parts[0],
        val=parts[1],
        classes=classes,
        feature_names=names,
        fingerprint="0" * 64,
        preprocessing={"image_size": [SIDE, SIDE]} if features == "pixels" else {},
        groups={name: [name] for name in classes},
        mean=of_train["mean"],
        std=of_train["std"],
        class_weight=of_train["class_weight"],
    )


def _names(features: Features) -> list[str]:
    if features == "pixels":
        return ["pixels"]
    scores = list(BLENDSHAPES) if "blendshapes" in features else []
    return scores + (landmark_names("expressive") if "landmarks" in features else [])
