"""Layers that the image nets share: their base class, the classifying head, and the attention blocks.

Shapes: B faces, C channels (of a feature map) or classes (of logits), h × w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fersweep.trainables.torch_training.hparams import HeadHparams

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "elu": nn.ELU}


class FaceNet(nn.Module):
    """(B, 1, S, S) float32 normalised gray faces → (B, num_classes) logits: what classifier.py trains.

    Stages are counted from 0, nearest to the input; the head is the last one. A subclass sets `stages`, input first, and
    `head`. mean, std: the gray levels (0 to 255) that pretrained weights want to be normalised with; None: those of train.
    memory_format: of its weights, and of the faces that it learns from.
    """

    mean: float | None = None
    std: float | None = None
    memory_format = torch.channels_last
    stages: nn.ModuleList
    head: Head

    @property
    def num_stages(self) -> int:
        return len(self.stages) + 1

    def stage_of(self, name: str) -> int:
        """The stage of a weight by its name: `stages.2.…` is in 2, the head's in the last one."""
        part, _, rest = name.partition(".")
        return len(self.stages) if part == "head" else int(rest.partition(".")[0])

    @property
    def layers(self) -> list[tuple[str, nn.Module]]:
        """The modules whose (B, channels, h, w) outputs explain.py shows, input first."""
        return [(f"stage {i + 1}", stage) for i, stage in enumerate(self.stages)]

    def penalty(self) -> Tensor | None:
        """A scalar to be added to the loss."""
        return self.head.penalty()

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.head(x)


class Classifier(nn.Linear):
    """The layer that gives the logits: in float32, since bfloat16's 8 bits would tie classes."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


class Head(nn.Module):
    """Pooling, hidden layers (dense, batch normalisation, activation, dropout), logits.

    Args:
        num_inputs: (channels, side) of the input maps; (features, 1) if there are none to pool.
        pooling: "avg", "max", "both" (concatenated) or "flatten".
        dropout: before the first hidden layer and after each; len(units) + 1 of them.
        l2: weighs the sum of squares of the hidden layers' and the classifier's kernels, as Keras's L2 does.
    """

    def __init__(
        self,
        num_inputs: tuple[int, int],
        num_classes: int,
        units: Sequence[int],
        dropout: Sequence[float],
        pooling: str = "avg",
        batch_norm: bool = False,
        activation: str = "relu",
        l2: float = 0.0,
    ):
        super().__init__()
        self.pooling, self.l2 = pooling, l2
        channels, side = num_inputs
        width = channels * {"avg": 1, "max": 1, "both": 2, "flatten": side * side}[pooling]
        parts: list[nn.Module] = [nn.Dropout(dropout[0])] if dropout[0] else []
        for unit, rate in zip(units, dropout[1:], strict=True):
            parts.append(nn.Linear(width, unit))
            if batch_norm:
                parts.append(nn.BatchNorm1d(unit))
            parts.append(ACTIVATIONS[activation]())
            if rate:
                parts.append(nn.Dropout(rate))
            width = unit
        self.layers = nn.Sequential(*parts, Classifier(width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) or (B, features) → (B, num_classes)."""
        if x.ndim == 4:
            pooled = {
                "avg": lambda: [x.mean(dim=(2, 3))],
                "max": lambda: [x.amax(dim=(2, 3))],
                "both": lambda: [x.mean(dim=(2, 3)), x.amax(dim=(2, 3))],
                "flatten": lambda: [x.flatten(1)],
            }[self.pooling]()
            x = torch.cat(pooled, dim=1)
        return self.layers(x)

    def penalty(self) -> Tensor | None:
        if not self.l2:
            return None
        kernels = [m.weight for m in self.layers if isinstance(m, nn.Linear)]
        return self.l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()


def make_head(h: HeadHparams, num_inputs: tuple[int, int], num_classes: int) -> Head:
    """The head that the hparams describe, for maps of num_inputs: (channels, side)."""
    dropouts = h.head_dropouts()
    return Head(
        num_inputs, num_classes, h.head_units, dropouts, h.head_pooling, h.head_batch_norm, h.head_activation, h.head_l2
    )


class SameConv2d(nn.Conv2d):
    """A convolution that keeps the map's size also where its kernel is even: one row and column more at the end."""

    def __init__(self, num_inputs: int, width: int, kernel: int, bias: bool):
        super().__init__(num_inputs, width, kernel, padding=(kernel - 1) // 2, bias=bias)
        self.extra = 1 - kernel % 2

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, (0, self.extra, 0, self.extra)) if self.extra else input)


class Dropout(nn.Module):
    """Dropout whose mask is made of random bytes, so that its rate is a multiple of 1/256: on a CPU, drawing a Bernoulli
    number for each activation instead takes a seventh of a small net's step.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.keep = max(round((1 - rate) * 256), 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.keep == 256:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        mask = words.view(torch.uint8)[: x.numel()].as_strided(x.shape, x.stride()) < self.keep
        return x * (mask.to(x.dtype) * (256 / self.keep))


class SqueezeExcite(nn.Module):
    """Channels weighed by the mean of the whole map (Hu et al. 2018)."""

    def __init__(self, channels: int, reduction: int = 8):
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.weigh = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x.mean(dim=(2, 3))).sigmoid()[:, :, None, None]


class CBAM(nn.Module):
    """Channels, then places, weighed by their mean and maximum (Woo et al. 2018)."""

    def __init__(self, channels: int, reduction: int = 8):
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.weigh = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.look = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weigh(x.mean(dim=(2, 3))) + self.weigh(x.amax(dim=(2, 3)))
        x = x * weight.sigmoid()[:, :, None, None]
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * self.look(summary).sigmoid()


ATTENTION: dict[str, type[nn.Module]] = {"se": SqueezeExcite, "cbam": CBAM, "none": nn.Identity}


class PixelMLP(FaceNet):
    """Dense layers of `units` over all pixels of faces of `image_size` pixels; `dropout`: after each."""

    def __init__(
        self,
        image_size: int,
        num_classes: int,
        units: tuple[int, ...],
        dropout: float,
        batch_norm: bool,
        activation: str,
        l2: float,
    ):
        super().__init__()
        self.stages = nn.ModuleList()
        rates = (0.0, *[dropout] * len(units))
        self.head = Head((1, image_size), num_classes, units, rates, "flatten", batch_norm, activation, l2)
