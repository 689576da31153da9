"""Operations on one member, or on a stack of members of one shape at once: (…, rows, columns) with or without a first
axis of members. Without it they are the faster ones of a single matrix.

tanh on a CPU is NumPy's: PyTorch's takes several times as long (benchmarks/models/fused.py).
"""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
aten = torch.ops.aten


def affine(bias: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """weight @ x + bias: (…, U, 1), (…, U, F), (…, F, B) → (…, U, B)."""
    if weight.ndim == 2:
        return torch.addmm(bias, weight, x)
    return torch.baddbmm(bias, weight, x if x.ndim == 3 else x.expand(len(weight), *x.shape))


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a @ b, written to `out` where there is one."""
    return (torch.mm if a.ndim == 2 else torch.bmm)(a, b, out=out)


def add_product(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """out += a @ b."""
    return out.addmm_(a, b) if a.ndim == 2 else out.baddbmm_(a, b)


def total(x: Tensor, out: Tensor) -> None:
    """(…, U, B) → the sums over B in `out` (…, U, 1)."""
    torch.sum(x, -1, keepdim=True, out=out)


def tanh_(x: Tensor) -> Tensor:
    if x.device.type != "cpu":
        return x.tanh_()
    values = x.numpy()
    np.tanh(values, out=values)
    return x


def _selu_(x: Tensor) -> Tensor:
    return torch.nn.functional.selu(x, inplace=True)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": tanh_,
    "relu": lambda x: x.clamp_min_(0),
    "selu": _selu_,
    "gelu": torch.nn.functional.gelu,
}
"""Name → function, which may change its argument; all but gelu do."""


def slope(name: str, gradient: Tensor, answer: Tensor, x: Tensor | None = None) -> Tensor:
    """The gradient of an activation's argument, from the gradient of its `answer`; gelu needs its argument `x`, too."""
    if name == "tanh":
        return aten.tanh_backward(gradient, answer)
    if name == "relu":
        return aten.threshold_backward(gradient, answer, 0)
    if name == "selu":
        return aten.elu_backward(gradient, SELU_ALPHA, SELU_SCALE, 1.0, True, answer)
    assert x is not None
    return aten.gelu_backward(gradient, x)
