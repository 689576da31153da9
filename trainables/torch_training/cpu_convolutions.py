"""Convolutions for which oneDNN has no fast kernels on a CPU, computed in another way with the same numbers.

Slow are the gradients of depthwise kernels, unless they are 3 × 3 with stride 1, even more so in bf16 (for
EfficientNet-Lite0 at 48 px two thirds of a training step), and 1 × 1 convolutions of maps of a few pixels. On a GPU
nothing changes. The gain is in docs/explanation/measurements.md.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

SMALL_DEPTHWISE = 81  # input × output pixels of a depthwise convolution that is computed as products with the whole map
SMALL_POINTWISE = 36  # pixels of a map whose 1 × 1 convolution is computed as a matrix product


def quicken(net: nn.Module) -> None:
    """Change the classes of a net's depthwise and 1 × 1 convolutions; parameters and their names stay."""
    for part in net.modules():
        if not isinstance(part, nn.Conv2d) or type(part) not in (nn.Conv2d, Conv2dSame):
            continue
        if part.padding_mode != "zeros" or part.dilation != (1, 1) or isinstance(part.padding, str):
            continue
        if part.groups == part.in_channels == part.out_channels > 1:
            part.__class__ = _DepthwiseSame if type(part) is Conv2dSame else _Depthwise
        elif (part.kernel_size, part.stride, part.groups, part.padding) == ((1, 1), (1, 1), 1, (0, 0)):
            part.__class__ = _Pointwise


def plain(net: nn.Module) -> None:
    """Undo `quicken`: what runs an exported graph has fast kernels of its own."""
    for part in net.modules():
        kind = type(part)
        if kind in (_DepthwiseSame, _Depthwise, _Pointwise):
            part.__class__ = Conv2dSame if kind is _DepthwiseSame else nn.Conv2d


class _Pointwise(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or input.shape[-2] * input.shape[-1] > SMALL_POINTWISE:
            return super().forward(input)
        return F.linear(input.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class _Depthwise(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        is_fast = (self.kernel_size, self.stride, self.padding) == ((3, 3), (1, 1), (1, 1)) and min(
            input.shape[-2:]
        ) >= 3
        if input.device.type != "cpu" or is_fast:
            return super().forward(input)
        pads = [self._pads(axis, input.shape[2 + axis]) for axis in (0, 1)]
        with torch.autocast("cpu", enabled=False):
            return _depthwise(input.float(), self.weight.float(), self.bias, self.stride, pads).to(input.dtype)

    def _pads(self, axis: int, size: int) -> tuple[int, int]:
        """Rows (axis 0) or columns (axis 1) of zeros before and after a map of `size`."""
        return int(self.padding[axis]), int(self.padding[axis])


class _DepthwiseSame(_Depthwise, Conv2dSame):
    """With TensorFlow's padding: as many zeros as give ⌈size / stride⌉ pixels, the odd one at the end."""

    def _pads(self, axis: int, size: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[axis], self.stride[axis]
        zeros = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return zeros // 2, zeros - zeros // 2


def _depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], pads: list[tuple[int, int]]
) -> Tensor:
    """(B, C, H, W) → (B, C, h, w), all float32, with `pads` rows and columns of zeros around x."""
    kernel, size = weight.shape[2:], x.shape[2:]
    out_size = [(size[i] + sum(pads[i]) - kernel[i]) // stride[i] + 1 for i in (0, 1)]
    if size[0] * size[1] * out_size[0] * out_size[1] <= SMALL_DEPTHWISE:
        return _with_whole_map(x, weight, bias, stride, pads, out_size)
    # A wider kernel with the same padding on all sides saves a padded copy of the map.
    (above, below), (left, right) = pads
    wider = F.pad(weight, (right - left, 0, below - above, 0))
    return F.conv2d(x, wider, bias, stride, (below, right), groups=len(weight))


def _with_whole_map(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    pads: list[tuple[int, int]],
    out_size: list[int],
) -> Tensor:
    """Each of the output pixels (out_size) is the sum of the map times the part of the kernel over it."""
    (rows, columns), (height, width) = x.shape[2:], out_size
    # The kernel with zeros around it: for every output pixel the part over the map is a slice of it.
    margins: list[int] = []
    for i in (1, 0):
        before = max(stride[i] * (out_size[i] - 1) - pads[i][0], 0)
        margins += [before, max(pads[i][0] + x.shape[2 + i] - weight.shape[2 + i], 0)]
    around = F.pad(weight[:, 0], margins).permute(1, 2, 0).contiguous()
    maps = x.permute(0, 2, 3, 1)
    pixels: list[Tensor] = []
    for row in range(height):
        top = margins[2] + pads[0][0] - stride[0] * row
        for column in range(width):
            left = margins[0] + pads[1][0] - stride[1] * column
            pixels.append((maps * around[top : top + rows, left : left + columns]).sum((1, 2)))
    out = torch.stack(pixels, 1).unflatten(1, (height, width)).permute(0, 3, 1, 2)
    return out if bias is None else out + bias[:, None, None]
