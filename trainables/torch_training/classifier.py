"""Trains a PyTorch classifier on faces' pixels: what `pixel_mlp`, `cnn`, `transfer` and nets of one's own share.

All faces are on the device as bytes (all of FER2013: 82 MB); a batch is gathered, augmented and resized there (loop.py).

Shapes: N faces, H × W pixels as the dataset has them, B faces of a batch, S = image_size, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.protocol import val_metrics
from fersweep.trainables.torch_training.augment import augmented, mixed, resized
from fersweep.trainables.torch_training.hparams import FaceHparams
from fersweep.trainables.torch_training.layers import FaceNet
from fersweep.trainables.torch_training.loop import TorchLoop

PREDICT_PIXELS = 512 * 48 * 48  # of a batch that is predicted

MakeNet = Callable[[Any, int], FaceNet]


class TorchClassifier(TorchLoop):
    """One net of pixels in training. `make_net(hparams, num_classes)` gives it; `statistics`: gray mean and std (1,) of train."""

    hparams: FaceHparams
    smaller = "batch_size (auto finds one that fits) or image_size"

    def _made(self, make_net: MakeNet) -> FaceNet:
        net = make_net(self.hparams, len(self.model["classes"]))
        net.to(memory_format=net.memory_format)
        if net.mean is not None:  # those of pretrained weights
            self.statistics = {name: np.array([getattr(net, name)], np.float32) for name in ("mean", "std")}
        return net

    def _rows(self, x: np.ndarray) -> Tensor:
        """(N, H, W) uint8 → (N, 1, H, W)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the array is shared and read-only, and nothing writes to it
            return torch.from_numpy(np.asarray(x, np.uint8))[:, None]

    def _example(self, num: int) -> Tensor:
        return torch.zeros(num, 1, self.hparams.image_size, self.hparams.image_size, device=self.device)

    @property
    def _most_rows(self) -> int:
        return PREDICT_PIXELS // self.hparams.image_size**2

    def _batch_in_words(self) -> str:
        return f"batch_size {self.batch_size}, image_size {self.hparams.image_size}"

    def _normalised(self, faces: Tensor) -> Tensor:
        """uint8 → float32 on the device."""
        mean, std = (float(self.statistics[name][0]) for name in ("mean", "std"))
        return self._to_device(faces).float().sub_(mean).div_(std)

    def _batch(self, rows: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        faces = augmented(self._normalised(rows), self.hparams, self.hparams.image_size)
        faces, targets = mixed(faces, targets, self.hparams, rng)
        return faces.contiguous(memory_format=self._net.memory_format), targets

    def _seen(self, rows: Tensor) -> Tensor:
        """(B, 1, H, W) uint8 → (B, 1, S, S)."""
        return resized(self._normalised(rows), self.hparams.image_size)

    def _more_metrics(self, arrays: TaskArrays) -> dict[str, float]:
        if not self.hparams.tta:
            return {}
        both = (self.val_probabilities + self._probabilities(self._val, _mirrored)) / 2
        tta = val_metrics(both, arrays.val.y)
        return {name.replace("val_", "val_tta_"): value for name, value in tta.items()}

    def predict_tta(self, x: np.ndarray) -> np.ndarray:
        """`predict` averaged over each face and its mirror image (test-time augmentation)."""
        faces = self._copied(x)
        return (self._probabilities(faces) + self._probabilities(faces, _mirrored)) / 2

    def feature_maps(self, face: np.ndarray, num: int = 16) -> list[tuple[str, np.ndarray]]:
        """The layers' outputs for one face (H, W) uint8: (name, (at most num, h, w) float32) each, see explain.py."""
        from fersweep.trainables.torch_training import explain

        return explain.feature_maps(self.training, self._prepared(face[None]), num)

    def grad_cam(self, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Which pixels of faces (N, H, W) uint8 speak for `classes` (N,): (N, H, W) float32 in [0, 1], see explain.py."""
        from fersweep.trainables.torch_training import explain

        return explain.grad_cam(self.training, self._prepared(faces), classes, faces.shape[-2:])

    def _prepared(self, x: np.ndarray) -> Tensor:
        return self._seen(self._copied(x))


def _mirrored(faces: Tensor) -> Tensor:
    return faces.flip(-1)


def build_classifier(
    name: str, hparams: FaceHparams, arrays: TaskArrays, seed: int, make_net: MakeNet
) -> TorchClassifier:
    """A fresh classifier with its training data attached."""
    return TorchClassifier.build(name, hparams, arrays, seed, make_net, {"mean": arrays.mean, "std": arrays.std})


def restore_classifier(directory: Path, hparams_type: type[FaceHparams], make_net: MakeNet) -> TorchClassifier:
    """A classifier that can predict, from a checkpoint alone."""
    return TorchClassifier.restore(directory, hparams_type, make_net)
