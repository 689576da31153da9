"""Trains a PyTorch classifier on faces' pixels: what `pixel_mlp`, `cnn` and `transfer` share.

All faces are on the device as bytes (all of FER2013: 82 MB); a batch is gathered, augmented and resized there. Within an
epoch the host never waits: there is no input pipeline, and the loss is read once, at the end.

Shapes: N faces, H × W pixels as the dataset has them, B faces of a batch, S = image_size, C classes.
"""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables import gpu_share
from fersweep.trainables.batches import epoch_order, face_targets, face_weights
from fersweep.trainables.metrics import EpochMetrics
from fersweep.trainables.protocol import TrialFailed, check_finite, val_metrics
from fersweep.trainables.saved_model import describe_model, read_checkpoint, write_checkpoint
from fersweep.trainables.torch_training import device as devices
from fersweep.trainables.torch_training.augment import augmented, mixed, resized
from fersweep.trainables.torch_training.hparams import TorchHparams
from fersweep.trainables.torch_training.layers import FaceNet
from fersweep.trainables.torch_training.optimisation import Plateau, Training

PREDICT_PIXELS = 512 * 48 * 48  # of a batch that is predicted: for any size it needs less memory than training
RESIDENT_SHARE = 0.25  # of the GPU memory that a trial may use; more faces than that stay in the host's

MakeNet = Callable[[Any, int], FaceNet]


class TorchClassifier:
    """One net in training. `make_net(hparams, num_classes)` gives it; `statistics`: gray mean and std (1,) of train."""

    EXPORTS = (".onnx", ".safetensors")

    def __init__(
        self, hparams: TorchHparams, model: dict[str, Any], statistics: dict[str, np.ndarray], make_net: MakeNet
    ):
        self.hparams, self.model, self.epoch = hparams, model, 0
        self.device = devices.open_device()
        torch.manual_seed(model["seed"])
        self._net = make_net(hparams, len(model["classes"])).to(memory_format=torch.channels_last)
        if self._net.mean is not None:  # those of pretrained weights
            statistics = {name: np.array([getattr(self._net, name)], np.float32) for name in ("mean", "std")}
        self.statistics = statistics
        self.precision = devices.choose_precision(
            hparams.precision, self.device, self._net, sam=hparams.sam_rho is not None
        )
        self.batch_size = 0
        self._plateau = Plateau(hparams)
        self._arrays: TaskArrays | None = None
        self.val_probabilities = np.zeros((0, len(model["classes"])), np.float32)

    def attach(self, arrays: TaskArrays) -> None:
        """Put the faces on the device and find the batch. Raises TrialFailed if the net does not fit in its share."""
        self._arrays = arrays
        self._faces, self._val = self._resident(arrays.train.x), self._resident(arrays.val.x)
        self._targets = torch.from_numpy(targets(arrays, self.hparams)).to(self.device)
        self.batch_size = self._fitting_batch(len(arrays.train.y))
        self.open()

    def open(self) -> None:
        """Take the net to the device, with its optimizer."""
        self.training = Training(self._net.to(self.device), self.hparams, self.precision, self.device)

    def _resident(self, x: np.ndarray) -> Tensor:
        """(N, H, W) uint8 → (N, 1, H, W) on the device, or on the host if they would take too much of the device."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the array is shared and read-only, and nothing writes to it
            faces = torch.from_numpy(x)[:, None]
        if self.device.type == "cpu":
            return faces
        _, total = torch.cuda.mem_get_info(self.device)
        return faces.to(self.device) if faces.nbytes < RESIDENT_SHARE * gpu_share.share() * total else faces

    def _fitting_batch(self, num_train: int) -> int:
        """hparams.batch_size, or the largest that fits; a net that does not fit is refused before it trains."""
        wanted = self.hparams.batch_size
        if wanted != "auto" and self.device.type == "cpu":
            return min(wanted, num_train)

        def train_once(batch: int) -> None:
            training = Training(copy.deepcopy(self._net).to(self.device), self.hparams, self.precision, self.device)
            training.begin_epoch(10**6)  # every stage learns
            size, num_classes = self.hparams.image_size, len(self.model["classes"])
            faces = torch.zeros(batch, 1, size, size, device=self.device)
            one_hot = torch.zeros(batch, num_classes, device=self.device)
            training.step(faces, one_hot, np.zeros(training.num_stages))

        fits = devices.fits_in_memory(train_once, self.device)
        if wanted == "auto":
            batch = devices.largest_batch(fits, min(devices.LARGEST_BATCH, num_train))
        else:
            batch = min(wanted, num_train)
            batch = batch if fits(batch) else None
        if batch is None:
            raise TrialFailed(
                f"out of memory: one batch of {2 if wanted == 'auto' else wanted} faces does not fit in the trial's share "
                "of the device: lower batch_size (auto finds one that fits) or image_size, or raise resources.gpus"
            )
        return batch

    def _normalised(self, faces: Tensor) -> Tensor:
        """uint8 → float32 on the device. Pinned, a batch of the host's is copied while the device works on the last one."""
        if faces.device != self.device:
            faces = faces.pin_memory()
        mean, std = (float(self.statistics[name][0]) for name in ("mean", "std"))
        return faces.to(self.device, non_blocking=True).float().sub_(mean).div_(std)

    def fit(self, num_epochs: int) -> list[EpochMetrics]:
        if self._arrays is None:
            raise RuntimeError("a restored model can only predict: build it with its arrays to train it")
        with devices.named_out_of_memory(f"batch_size {self.batch_size}, image_size {self.hparams.image_size}"):
            return [self._fit_one(self._arrays) for _ in range(num_epochs)]

    def _fit_one(self, arrays: TaskArrays) -> EpochMetrics:
        start = time.perf_counter()
        loss = self._train_epoch(arrays)
        self.epoch += 1
        self.val_probabilities = self._probabilities(self._val)
        metrics = {"epoch": self.epoch, "train_loss": loss, **val_metrics(self.val_probabilities, arrays.val.y)}
        if self.hparams.tta:
            both = (self.val_probabilities + self._probabilities(self._val, mirrored=True)) / 2
            tta = val_metrics(both, arrays.val.y)
            metrics |= {name.replace("val_", "val_tta_"): value for name, value in tta.items()}
        metrics["epoch_s"] = time.perf_counter() - start
        check_finite(metrics)
        self._plateau.see(metrics["val_loss"])
        return metrics

    def _train_epoch(self, arrays: TaskArrays) -> float:
        """One epoch → its mean loss. All that is random depends on seed and epoch alone, so a resumed trial trains as one
        without a break.
        """
        rng = np.random.default_rng([self.model["seed"], self.epoch])
        torch.manual_seed(int(rng.integers(2**31)))
        order = epoch_order(arrays.train.y, self.batch_size, self.hparams.sampling == "balanced", rng)
        rates = self.training.rates(self.epoch, len(order), self._plateau.scale)
        self.training.begin_epoch(self.epoch)
        batches = torch.from_numpy(order).to(self._faces.device)
        total = torch.zeros((), device=self.device)
        for rows, step_rates in zip(batches, rates, strict=True):
            faces = self._normalised(self._faces[rows])
            faces = augmented(faces, self.hparams, self.hparams.image_size)
            targets = self._targets[rows.to(self.device, non_blocking=True)]
            faces, targets = mixed(faces, targets, self.hparams, rng)
            total += self.training.step(faces.contiguous(memory_format=torch.channels_last), targets, step_rates)
        return float(total) / len(order)

    def _probabilities(self, faces: Tensor, mirrored: bool = False) -> np.ndarray:
        """(N, 1, H, W) uint8 → (N, C) float32."""
        size = self.hparams.image_size
        parts: list[Tensor] = []
        for chunk in faces.split(PREDICT_PIXELS // size**2) if len(faces) else ():
            batch = resized(self._normalised(chunk), size)
            parts.append(self.training.probabilities(batch.flip(-1) if mirrored else batch))
        probabilities = torch.cat(parts) if parts else torch.zeros(0, len(self.model["classes"]))
        return probabilities.cpu().numpy()

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._probabilities(_as_tensor(x))

    def num_weights(self) -> int:
        return sum(values.numel() for values in self._net.state_dict().values() if values.is_floating_point())

    def predict_exactly(self, x: np.ndarray) -> np.ndarray:
        """`predict` in float32 whatever the precision, as an exported file computes."""
        before, self.training.precision = self.training.precision, "fp32"
        try:
            with devices.without_tf32():
                return self.predict(x)
        finally:
            self.training.precision = before

    @property
    def card(self) -> dict[str, Any]:
        """What an exported file says about the model, with the keys of model.json."""
        return {**self.model, "epoch": self.epoch, "precision": "fp32"}

    def predict_tta(self, x: np.ndarray) -> np.ndarray:
        """`predict` averaged over each face and its mirror image (test-time augmentation)."""
        faces = _as_tensor(x)
        return (self._probabilities(faces) + self._probabilities(faces, mirrored=True)) / 2

    def feature_maps(self, face: np.ndarray, num: int = 16) -> list[tuple[str, np.ndarray]]:
        """The layers' outputs for one face (H, W) uint8: (name, (at most num, h, w) float32) each, see explain.py."""
        from fersweep.trainables.torch_training import explain

        return explain.feature_maps(self.training, self._prepared(face[None]), num)

    def grad_cam(self, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Which pixels of faces (N, H, W) uint8 speak for `classes` (N,): (N, H, W) float32 in [0, 1], see explain.py."""
        from fersweep.trainables.torch_training import explain

        return explain.grad_cam(self.training, self._prepared(faces), classes, faces.shape[-2:])

    def _prepared(self, x: np.ndarray) -> Tensor:
        return resized(self._normalised(_as_tensor(x)), self.hparams.image_size)

    def save(self, directory: Path) -> None:
        plateau = {"scale": self._plateau.scale, "best": self._plateau.best, "waited": self._plateau.waited}
        progress = {"epoch": self.epoch, "precision": self.precision, "batch_size": self.batch_size, "plateau": plateau}
        write_checkpoint(directory, {**self.model, **progress}, {**self.training.state(), **self.statistics})

    def load(self, directory: Path) -> None:
        model, state = read_checkpoint(directory)
        self.epoch, self.batch_size = model["epoch"], model["batch_size"]
        self.precision = self.training.precision = model["precision"]
        for name, value in model["plateau"].items():
            setattr(self._plateau, name, value)
        self.training.load_state(state)


def _as_tensor(x: np.ndarray) -> Tensor:
    """(N, H, W) → a copy, (N, 1, H, W) uint8."""
    return torch.from_numpy(np.array(x, np.uint8))[:, None]


def targets(arrays: TaskArrays, h: TorchHparams) -> np.ndarray:
    """(N, C) float32: the targets of train's faces, smoothed, times the faces' weights (1 on average)."""
    num_classes = len(arrays.classes)
    smooth = face_targets(arrays, h.soft_labels) * (1 - h.label_smoothing) + h.label_smoothing / num_classes
    return (smooth * face_weights(arrays, h.class_weights)[:, None]).astype(np.float32)


def build_classifier(
    name: str, hparams: TorchHparams, arrays: TaskArrays, seed: int, make_net: MakeNet
) -> TorchClassifier:
    """A fresh classifier with its training data attached."""
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    statistics = {"mean": arrays.mean, "std": arrays.std}
    classifier = TorchClassifier(hparams, describe_model(name, hparams, arrays, seed), statistics, make_net)
    with devices.named_out_of_memory("the net and its faces"):
        classifier.attach(arrays)
    return classifier


def restore_classifier(directory: Path, hparams_type: type[TorchHparams], make_net: MakeNet) -> TorchClassifier:
    """A classifier that can predict, from a checkpoint alone."""
    model, state = read_checkpoint(directory)
    statistics = {name: state[name] for name in ("mean", "std")}
    described = {k: v for k, v in model.items() if k not in ("epoch", "precision", "batch_size", "plateau")}
    classifier = TorchClassifier(hparams_type(**model["hparams"]), described, statistics, make_net)
    classifier.open()
    classifier.load(directory)
    return classifier
