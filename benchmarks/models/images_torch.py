"""PyTorch's side of images.py: ours, the net alone, and a plain loop over a DataLoader. All train the classifier's net."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from images import BATCH, ROTATION, SIZE, ZOOM, Way
from optuna.trial import FixedTrial
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from fersweep import trainables
from fersweep.search_spaces import cnn
from fersweep.trainables.torch_training import device as devices
from fersweep.trainables.transfer import backbones

# One point of the recipe `fer_sota`, near the middle of its space; what the recipe fixes is not in it.
FER_SOTA: dict[str, Any] = {
    "width_0": 64, "width_1": 128, "width_2": 256, "width_3": 512, "convs_per_stage": 2, "attention": "se",
    "activation": "relu", "conv_dropout": 0.1, "head_layers": 0, "head_dropout_0": 0.3, "head_pooling": "avg",
    "learning_rate": 0.03, "momentum": 0.9, "weight_decay": 1e-4, "warmup_epochs": 1.0, "ema_decay": 0.999,
    "batch_size": 128, "label_smoothing": 0.1, "shift": 0.08, "contrast": 0.2, "erasing": 0.2, "shear": 0.0,
    "crop": 0.0, "brightness": 0.0, "use_mixup": False, "use_cutmix": False, "rotation": ROTATION, "zoom": ZOOM,
}  # fmt: skip


def make_classifier(net: str, arrays: Any, **more: Any) -> Any:
    """The TorchClassifier, ready to train, with `more` hparams. `net`: a key of images.NETS, or "fer_sota"."""
    changed = {"batch_size": BATCH, "image_size": SIZE, "flip": True, "rotation": ROTATION, "zoom": ZOOM}
    if net == "transfer":
        hparams: dict[str, Any] = {"weights": "none"}
    else:
        hparams = cnn.space(FixedTrial(cnn.POINTS["seed_lobo"] if net == "cnn" else fer_sota_point()))
    return trainables.load("transfer" if net == "transfer" else "cnn").build(
        {**hparams, **changed, **more}, arrays, seed=0
    )


def fer_sota_point() -> dict[str, Any]:
    """One point of the recipe `fer_sota`, by names of its space."""
    recipe = Path(cnn.__file__).parent / "recipes/fer_sota.yaml"
    return {**yaml.safe_load(recipe.read_text())["space"]["fix"], **FER_SOTA}


def way(train_epoch: Callable[[], object], classifier: Any) -> Way:
    return Way(train_epoch, sum(weight.numel() for weight in classifier._net.parameters()), classifier.precision)


def ours(net: str, arrays: Any, how: str = "", **more: Any) -> Way:
    """`how`: as in the names of images.WAYS. The other precision is fp32 if `auto` chooses another, else bf16."""
    if how == "torch's convolutions":
        backbones.quicken = lambda net: None
    if how == "malloc as it is":
        devices._keep_freed_memory = lambda: None
    classifier = make_classifier(net, arrays, compile=how == "compiled", **more)
    if how == "other precision":
        other = "bf16" if classifier.precision == "fp32" else "fp32"
        classifier = make_classifier(net, arrays, precision=other)

    def train_epoch() -> None:
        classifier._train_epoch(arrays)
        classifier.epoch += 1

    return way(train_epoch, classifier)


def make_step(classifier: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """A plain training step of the classifier's net, at its precision → the loss."""
    net, device = classifier._net, classifier.device
    low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(classifier.precision)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)
    scaler = torch.amp.GradScaler(device.type, enabled=low is torch.float16)
    net.train()

    def step(faces: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(device.type, low, enabled=low is not None):
            logits = net(faces)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return step


def net_alone(net: str, arrays: Any) -> Way:
    classifier = make_classifier(net, arrays)
    step, device = make_step(classifier), classifier.device
    faces = torch.randn(BATCH, 1, SIZE, SIZE, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(len(arrays.classes), (BATCH,), device=device)

    def train_epoch() -> float:
        losses = [step(faces, labels) for _ in range(len(arrays.train.y) // BATCH)]
        return float(losses[-1])

    return way(train_epoch, classifier)


class Faces(torch.utils.data.Dataset):
    """PIL images, augmented one by one when they are read."""

    def __init__(self, arrays: Any):
        self._images, self._labels = [Image.fromarray(face) for face in arrays.train.x], arrays.train.y.tolist()
        self._transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                # Rotation and zoom in one resampling, as in ours: a separate RandomRotation would only take longer.
                v2.RandomAffine(ROTATION, scale=(1 - ZOOM, 1 + ZOOM), interpolation=InterpolationMode.BILINEAR),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([float(arrays.mean[0]) / 255], [float(arrays.std[0]) / 255]),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self._transform(self._images[row]), self._labels[row]


def dataloader(net: str, arrays: Any, num_workers: int) -> Way:
    classifier = make_classifier(net, arrays)
    step, device = make_step(classifier), classifier.device
    workers = {"num_workers": num_workers, "persistent_workers": num_workers > 0}
    pin = device.type == "cuda"
    loader = torch.utils.data.DataLoader(Faces(arrays), BATCH, shuffle=True, drop_last=True, pin_memory=pin, **workers)

    def train_epoch() -> float:
        loss = torch.zeros(())
        for faces, labels in loader:
            faces = faces.to(device, memory_format=torch.channels_last, non_blocking=True)
            loss = step(faces, labels.to(device, non_blocking=True))
        return float(loss)

    return way(train_epoch, classifier)
