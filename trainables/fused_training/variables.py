"""The variables of a net of vectors: as Keras has them in a checkpoint, and as they are multiplied here.

Here a kernel is transposed, (outputs, inputs), and its bias is one more column of it: a block. Activations are (units, faces):
the gates of an LSTM are then blocks of memory, one after another. Keras's gates are input, forget, cell, output; here they are
input, output, cell, forget, since forget gates have nothing to do in a first step, and are left out there.

First values are drawn as Keras draws them (keras/src/initializers/random_initializers.py), from a generator of NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

GATES = (0, 3, 2, 1)  # which of Keras's gates is the first, second, … here; the same the other way round


@dataclass(frozen=True)
class Variable:
    """One variable that is trained.

    Attributes:
        name: within its net, such as `0.kernel`.
        shape: in Keras, such as (inputs, units).
        block: what it is part of here; several variables of one block are side by side, in their order.
        gated: whether its last axis in Keras is four gates, one after another.
        regularised: whether `l2` is of it.
        idle: it has no gradient in this net: nothing but decay and averages change it.
    """

    name: str
    shape: tuple[int, ...]
    block: str
    gated: bool = False
    regularised: bool = False
    idle: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def own_shape(self) -> tuple[int, int]:
        return (self.shape[-1], self.shape[0] if len(self.shape) == 2 else 1)

    def from_keras(self, value: np.ndarray) -> np.ndarray:
        """`shape` → `own_shape`, float32. Raises ValueError for another shape."""
        if value.shape != self.shape:
            raise ValueError(f"{self.name} has the shape {value.shape}, not {self.shape}")
        return np.ascontiguousarray(_reordered(value, self.gated).reshape(-1, self.shape[-1]).T, np.float32)

    def to_keras(self, value: np.ndarray) -> np.ndarray:
        """`own_shape` → `shape`."""
        return np.ascontiguousarray(_reordered(value.T.reshape(self.shape), self.gated))


def _reordered(value: np.ndarray, gated: bool) -> np.ndarray:
    if not gated:
        return value
    gates = value.reshape(*value.shape[:-1], 4, -1)
    return gates[..., GATES, :].reshape(value.shape)


class Layout:
    """Where blocks and variables are in the flat values of a member: those that are trained first, idle ones after them.

    Attributes:
        size, num_trained: how many numbers there are, and how many of them are trained.
    """

    def __init__(self, variables: Sequence[Variable]):
        widths: dict[str, int] = {}
        self._columns: dict[str, tuple[str, slice]] = {}
        for variable in variables:
            start = widths.get(variable.block, 0)
            widths[variable.block] = start + variable.own_shape[1]
            self._columns[variable.name] = (variable.block, slice(start, widths[variable.block]))
        self._blocks: dict[str, tuple[int, int, int]] = {}  # → start, rows, columns
        self.size = 0
        for variable in sorted(variables, key=lambda variable: variable.idle):
            if variable.block not in self._blocks:
                rows = variable.own_shape[0]
                self._blocks[variable.block] = (self.size, rows, widths[variable.block])
                self.size += rows * widths[variable.block]
        self.num_trained = sum(variable.size for variable in variables if not variable.idle)

    def blocks(self, flat: Tensor) -> dict[str, Tensor]:
        """(…, P) → block → (…, rows, columns), of the same memory; of (…, num_trained) without idle ones."""
        return {
            name: flat[..., start : start + rows * columns].unflatten(-1, (rows, columns))
            for name, (start, rows, columns) in self._blocks.items()
            if start + rows * columns <= flat.shape[-1]
        }

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The same for variables: (…, *own_shape)."""
        blocks = self.blocks(flat)
        return {
            name: blocks[block][..., columns] for name, (block, columns) in self._columns.items() if block in blocks
        }


def kernel(initializer: str, width: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """First values of a kernel in Keras's shape, float32. `width`: half the width of `uniform`."""
    fan_in, fan_out = shape
    if initializer == "uniform":
        return rng.uniform(-width, width, shape).astype(np.float32)
    if initializer == "glorot_uniform":
        limit = math.sqrt(6 / (fan_in + fan_out))
        return rng.uniform(-limit, limit, shape).astype(np.float32)
    if initializer == "he_normal":
        std = math.sqrt(2 / fan_in) / 0.87962566103423978
        return (std * _truncated_normal(shape, rng)).astype(np.float32)
    return orthogonal(shape, rng)


def _truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Standard normal numbers, drawn again where they are beyond 2."""
    values = rng.standard_normal(shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.standard_normal(int(beyond.sum()))
    return values


def orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Rows or columns, whichever are fewer, that are orthonormal, float32."""
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q *= np.sign(np.diag(r))
    return (q.T if shape[0] < shape[1] else q).astype(np.float32)
