"""The net of `cnn`."""

from __future__ import annotations

from torch import Tensor, nn

from fersweep.trainables.cnn.hparams import Hparams
from fersweep.trainables.torch_training.layers import ACTIVATIONS, ATTENTION, Dropout, FaceNet, SameConv2d, make_head


class Stage(nn.Module):
    """`convs_per_stage` convolutions of one width, attention, then a pooling that halves the map, then dropout.

    residual: the input is added to the convolutions' output (through a 1 × 1 convolution where the width changes)
    before the last activation, as in He et al. 2016.
    """

    def __init__(self, h: Hparams, num_inputs: int, width: int, kernel: int):
        super().__init__()
        parts: list[nn.Module] = []
        for i in range(h.convs_per_stage):
            last = i == h.convs_per_stage - 1
            channels, bias = width if i else num_inputs, not h.batch_norm
            if last and h.pooling == "stride":
                parts.append(nn.Conv2d(channels, width, kernel, stride=2, padding=kernel // 2, bias=bias))
            else:
                parts.append(SameConv2d(channels, width, kernel, bias))
            if h.batch_norm:
                parts.append(nn.BatchNorm2d(width))
            if not last:
                parts.append(ACTIVATIONS[h.activation]())
        self.convolutions = nn.Sequential(*parts)
        self.attention = ATTENTION[h.attention](width)
        self.past = _past(h, num_inputs, width) if h.residual else None
        pools: dict[str, nn.Module] = {"max": nn.MaxPool2d(2), "avg": nn.AvgPool2d(2), "stride": nn.Identity()}
        last = [ACTIVATIONS[h.activation](), pools[h.pooling]]
        if h.pooling == "max" and h.activation in (
            "relu",
            "elu",
        ):  # monotonic: the order does not matter, and max first is cheaper
            last.reverse()
        self.after = nn.Sequential(*last, Dropout(h.conv_dropout))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.attention(self.convolutions(x))
        if self.past is not None:
            maps = maps + self.past(x)
        return self.after(maps)


def _past(h: Hparams, num_inputs: int, width: int) -> nn.Module:
    """The shortcut around a stage's convolutions."""
    stride = 2 if h.pooling == "stride" else 1
    if num_inputs == width and stride == 1:
        return nn.Identity()
    convolution = nn.Conv2d(num_inputs, width, 1, stride, bias=not h.batch_norm)
    return nn.Sequential(convolution, nn.BatchNorm2d(width)) if h.batch_norm else convolution


class CNN(FaceNet):
    def __init__(self, h: Hparams, num_classes: int):
        super().__init__()
        kernels = h.kernels * len(h.widths) if len(h.kernels) == 1 else h.kernels
        inputs, side = (1, *h.widths[:-1]), h.image_size
        self.stages = nn.ModuleList(Stage(h, *sizes) for sizes in zip(inputs, h.widths, kernels, strict=True))
        for _ in self.stages:
            side = (side + 1) // 2 if h.pooling == "stride" else side // 2
        self.head = make_head(h, (h.widths[-1], side), num_classes)
