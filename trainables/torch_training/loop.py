"""The training loop of nets in PyTorch, whatever they see: classifier.py trains on pixels, vectors.py on features.

All faces are on the device; a batch is gathered and made what the net sees there. Within an epoch the host never waits: there is
no input pipeline, and the loss is read once, at the end.

Shapes: N faces, B faces of a batch, C classes.
"""

from __future__ import annotations

import copy
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

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
from fersweep.trainables.torch_training.hparams import TrainingHparams
from fersweep.trainables.torch_training.layers import FaceNet
from fersweep.trainables.torch_training.optimisation import Plateau, Training

RESIDENT_SHARE = 0.25  # of the GPU memory that a trial may use; more faces than that stay in the host's


class TorchLoop:
    """One net in training. A subclass says what the net sees of faces.

    Attributes:
        statistics: `mean` and `std` of train.
    """

    EXPORTS = (".onnx", ".safetensors")
    hparams: Any
    statistics: dict[str, np.ndarray]
    smaller: ClassVar[str]  # what makes a batch smaller, for a message

    def __init__(self, hparams: Any, model: dict[str, Any], statistics: dict[str, np.ndarray], make_net: Any):
        self.hparams, self.model, self.statistics, self.epoch = hparams, model, statistics, 0
        self.device = devices.open_device()
        seed_all(model["seed"])
        self._net = self._made(make_net)
        self.precision = devices.choose_precision(
            hparams.precision, self.device, self._net, sam=hparams.sam_rho is not None
        )
        self.batch_size = 0
        self._plateau = Plateau(hparams)
        self._arrays: TaskArrays | None = None
        self.val_probabilities = np.zeros((0, len(model["classes"])), np.float32)

    def _made(self, make_net: Any) -> FaceNet:
        """The net, on the CPU."""
        raise NotImplementedError

    def _rows(self, x: np.ndarray) -> Tensor:
        """(N, …) as the task gives them → (N, …) as they lie on the device, on the host. It may share x's memory."""
        raise NotImplementedError

    def _example(self, num: int) -> Tensor:
        """`num` faces of zeros as the net sees them, on the device."""
        raise NotImplementedError

    def _batch(self, rows: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Rows of train (B, …) and targets (B, C) → what the net learns from."""
        raise NotImplementedError

    def _seen(self, rows: Tensor) -> Tensor:
        """Rows (B, …) → what the net answers."""
        raise NotImplementedError

    @property
    def _most_rows(self) -> int:
        """Of a batch that is predicted: for any net it needs less memory than training."""
        raise NotImplementedError

    def _batch_in_words(self) -> str:
        return f"batch_size {self.batch_size}"

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
        """Rows on the device, or on the host if they would take too much of the device."""
        faces = self._rows(x)
        if self.device.type == "cpu":
            return faces
        _, total = torch.cuda.mem_get_info(self.device)
        return faces.to(self.device) if faces.nbytes < RESIDENT_SHARE * gpu_share.share() * total else faces

    def _to_device(self, rows: Tensor) -> Tensor:
        """Pinned, a batch of the host's is copied while the device works on the last one."""
        return (rows if rows.device == self.device else rows.pin_memory()).to(self.device, non_blocking=True)

    def _fitting_batch(self, num_train: int) -> int:
        """hparams.batch_size, or the largest that fits; a net that does not fit is refused before it trains."""
        wanted = self.hparams.batch_size
        if wanted != "auto" and self.device.type == "cpu":
            return min(wanted, num_train)

        def train_once(batch: int) -> None:
            training = Training(copy.deepcopy(self._net).to(self.device), self.hparams, self.precision, self.device)
            training.begin_epoch(10**6)  # every stage learns
            one_hot = torch.zeros(batch, len(self.model["classes"]), device=self.device)
            training.step(self._example(batch), one_hot, np.zeros(training.num_stages))

        fits = devices.fits_in_memory(train_once, self.device)
        if wanted == "auto":
            batch = devices.largest_batch(fits, min(devices.LARGEST_BATCH, num_train))
        else:
            batch = min(wanted, num_train)
            batch = batch if fits(batch) else None
        if batch is None:
            raise TrialFailed(
                f"out of memory: one batch of {2 if wanted == 'auto' else wanted} faces does not fit in the trial's share "
                f"of the device: lower {self.smaller}, or raise resources.gpus"
            )
        return batch

    def fit(self, num_epochs: int) -> list[EpochMetrics]:
        if self._arrays is None:
            raise RuntimeError("a restored model can only predict: build it with its arrays to train it")
        with devices.named_out_of_memory(self._batch_in_words()):
            return [self._fit_one(self._arrays) for _ in range(num_epochs)]

    def _fit_one(self, arrays: TaskArrays) -> EpochMetrics:
        start = time.perf_counter()
        loss = self._train_epoch(arrays)
        self.epoch += 1
        self.val_probabilities = self._probabilities(self._val)
        metrics = {"epoch": self.epoch, "train_loss": loss, **val_metrics(self.val_probabilities, arrays.val.y)}
        metrics |= self._more_metrics(arrays)
        metrics["epoch_s"] = time.perf_counter() - start
        check_finite(metrics)
        self._plateau.see(metrics["val_loss"])
        return metrics

    def _more_metrics(self, arrays: TaskArrays) -> dict[str, float]:
        return {}

    def _train_epoch(self, arrays: TaskArrays) -> float:
        """One epoch → its mean loss. All that is random depends on seed and epoch alone, so a resumed trial trains as one
        without a break: also what a net of somebody's draws with Python's and NumPy's generators.
        """
        rng = np.random.default_rng([self.model["seed"], self.epoch])
        seed_all(int(rng.integers(2**31)))
        order = epoch_order(arrays.train.y, self.batch_size, self.hparams.sampling == "balanced", rng)
        rates = self.training.rates(self.epoch, len(order), self._plateau.scale)
        self.training.begin_epoch(self.epoch)
        batches = torch.from_numpy(order).to(self._faces.device)
        total = torch.zeros((), device=self.device)
        for rows, step_rates in zip(batches, rates, strict=True):
            targets = self._targets[rows.to(self.device, non_blocking=True)]
            faces, targets = self._batch(self._faces[rows], targets, rng)
            total += self.training.step(faces, targets, step_rates)
        return float(total) / len(order)

    def _probabilities(self, rows: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> np.ndarray:
        """(N, …) rows → (N, C) float32. `change`: of what the net sees."""
        parts: list[Tensor] = []
        for chunk in rows.split(self._most_rows) if len(rows) else ():
            seen = self._seen(chunk)
            parts.append(self.training.probabilities(seen if change is None else change(seen)))
        probabilities = torch.cat(parts) if parts else torch.zeros(0, len(self.model["classes"]))
        return probabilities.cpu().numpy()

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._probabilities(self._copied(x))

    def _copied(self, x: np.ndarray) -> Tensor:
        return self._rows(np.array(x))

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

    @classmethod
    def build(
        cls, name: str, hparams: Any, arrays: TaskArrays, seed: int, make_net: Any, statistics: dict[str, np.ndarray]
    ) -> Self:
        """A fresh one with its training data attached."""
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
        with devices.named_out_of_memory("the net and its faces"):
            classifier = cls(hparams, describe_model(name, hparams, arrays, seed), statistics, make_net)
            classifier.attach(arrays)
        return classifier

    @classmethod
    def restore(cls, directory: Path, hparams_type: Callable[..., Any], make_net: Any) -> Self:
        """One that can predict, from a checkpoint alone."""
        model, state = read_checkpoint(directory)
        statistics = {name: state[name] for name in ("mean", "std")}
        described = {k: v for k, v in model.items() if k not in ("epoch", "precision", "batch_size", "plateau")}
        classifier = cls(hparams_type(**model["hparams"]), described, statistics, make_net)
        classifier.open()
        classifier.load(directory)
        return classifier


def seed_all(seed: int) -> None:
    """Of torch on all devices, of Python and of NumPy's global generator."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # the one that a net of somebody's may use


def targets(arrays: TaskArrays, h: TrainingHparams) -> np.ndarray:
    """(N, C) float32: the targets of train's faces, smoothed, times the faces' weights (1 on average)."""
    num_classes = len(arrays.classes)
    smooth = face_targets(arrays, h.soft_labels) * (1 - h.label_smoothing) + h.label_smoothing / num_classes
    return (smooth * face_weights(arrays, h.class_weights)[:, None]).astype(np.float32)
