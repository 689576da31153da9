"""A step of training, or of answering, as a list of operations on fixed memory: made once, then run again and again.

The nets of blendshapes are so small that half of a step would be Python and the bookkeeping of tensors. A program has
neither: every operation writes to memory that is there already, and its arguments were looked up when it was made.

Tensors are (rows, columns) of one member, or (K, rows, columns) of K members of one shape, which an operation takes at once.
"""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def multiplies_with_numpy(device: torch.device) -> bool:
    """Whether matrices are multiplied by NumPy. Its OpenBLAS takes a tenth less time than PyTorch's MKL (AMD EPYC with AVX-512), but with
    several threads, which spin beside PyTorch's, many times as long.
    """
    return device.type == "cpu" and torch.get_num_threads() == 1


class Program:
    """`members`: () of one, or (K,). Its buffers are theirs alone."""

    def __init__(self, members: tuple[int, ...], device: torch.device):
        self._members, self._device, self._numpy = members, device, multiplies_with_numpy(device)
        self._operations: list[Callable[[], Any]] = []

    def run(self) -> None:
        with np.errstate(all="ignore"):  # what is not finite is found in the metrics
            for operation in self._operations:
                operation()

    def buffer(self, rows: int, columns: int, fill: float = 0.0) -> Tensor:
        """Memory (…, rows, columns) float32."""
        return torch.full((*self._members, rows, columns), fill, device=self._device)

    def like(self, x: Tensor) -> Tensor:
        return self.buffer(*x.shape[-2:])

    def inputs(self, rows: int, columns: int) -> Tensor:
        """Memory (…, rows + 1, columns) of what a layer reads: its last row is 1, and is multiplied by the biases."""
        memory = self.buffer(rows + 1, columns)
        memory[..., rows, :] = 1
        return memory

    def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._operations.append(partial(function, *args, **kwargs))

    def product(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        """out = a @ b."""
        if self._numpy:
            self.do(np.matmul, a.numpy(), b.numpy(), out=out.numpy())
            return
        self.do(torch.mm if a.ndim == 2 else torch.bmm, a, b, out=out)

    def add_product(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        """out += a @ b."""
        self.do(out.addmm_ if a.ndim == 2 else out.baddbmm_, a, b)

    def times(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        """out = a * b."""
        if self._device.type == "cpu":  # NumPy begins sooner
            self.do(np.multiply, a.numpy(), b.numpy(), out=out.numpy())
        else:
            self.do(torch.mul, a, b, out=out)

    def activation(self, name: str, x: Tensor, out: Tensor) -> None:
        """out = name(x); in place but for gelu, whose argument its slope needs."""
        if name == "tanh" and x.device.type == "cpu":  # NumPy's is several times as fast as PyTorch's
            self.do(np.tanh, x.numpy(), out=out.numpy())
        elif name == "tanh":
            self.do(torch.tanh, x, out=out)
        elif name == "sigmoid":
            self.do(torch.sigmoid, x, out=out)
        elif name == "relu":
            self.do(torch.clamp_min, x, 0, out=out)
        elif name == "selu":
            self.do(torch.ops.aten.elu.out, x, SELU_ALPHA, SELU_SCALE, 1.0, out=out)
        else:
            self.do(_without_onednn, torch.ops.aten.gelu.out, x, out=out)

    def slope(self, name: str, gradient: Tensor, answer: Tensor, x: Tensor, out: Tensor) -> None:
        """out = the gradient of an activation's argument `x`, from the gradient of its `answer`."""
        aten = torch.ops.aten
        if name == "tanh":
            self.do(aten.tanh_backward.grad_input, gradient, answer, grad_input=out)
        elif name == "sigmoid":
            self.do(aten.sigmoid_backward.grad_input, gradient, answer, grad_input=out)
        elif name == "relu":
            self.do(aten.threshold_backward.grad_input, gradient, answer, 0, grad_input=out)
        elif name == "selu":
            scales = (SELU_ALPHA, SELU_SCALE, 1.0)
            self.do(aten.elu_backward.grad_input, gradient, *scales, True, answer, grad_input=out)
        else:
            self.do(_without_onednn, aten.gelu_backward.grad_input, gradient, x, grad_input=out)

    def column_sums(self, x: Tensor, out: Tensor) -> None:
        """(…, U, B) → the sums over B in `out` (…, U, 1)."""
        self.do(torch.sum, x, -1, keepdim=True, out=out)


def _without_onednn(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """oneDNN's gelu, which PyTorch 2.15 prefers on a CPU, is put together anew at each call, and writes wrong numbers to memory with
    gaps.
    """
    onednn = torch.backends.mkldnn
    before, onednn.enabled = onednn.enabled, False
    try:
        function(*args, **kwargs)
    finally:
        onednn.enabled = before
