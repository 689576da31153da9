"""Which faces of train each step learns from, and the weight of each."""

from __future__ import annotations

import numpy as np

from fersweep.data_pipeline.tasks.arrays import TaskArrays


def epoch_order(y: np.ndarray, batch: int, balanced: bool, rng: np.random.Generator) -> np.ndarray:
    """(num_steps, batch) int64 rows of train for an epoch: each at most once, or, balanced, drawn class by class."""
    num_steps = len(y) // batch
    if balanced:
        chance = 1 / np.bincount(y)[y]
        order = rng.choice(len(y), num_steps * batch, p=chance / chance.sum())
    else:
        order = rng.permutation(len(y))[: num_steps * batch]
    return order.reshape(num_steps, batch)


def face_targets(arrays: TaskArrays, soft: bool = False) -> np.ndarray:
    """(N, C) float32: what each face of train is to be answered with: its votes where a teacher gave them, or where `soft` asks
    for the annotators' and there are some; else the one-hot of its class.
    """
    votes = arrays.train.votes
    if votes is not None and (soft or arrays.taught):
        return votes
    return np.eye(len(arrays.classes), dtype=np.float32)[arrays.train.y]


def face_weights(arrays: TaskArrays, class_weights: float) -> np.ndarray:
    """(N,) float32 weights of train's faces in the loss, 1 on average. `class_weights`: exponent of n / (C * n_c)."""
    weight = arrays.train.weight * (arrays.class_weight**class_weights)[arrays.train.y]
    return weight / weight.mean()
