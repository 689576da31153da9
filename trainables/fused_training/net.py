"""What a net of vectors offers to be trained in a population: its shape, and programs with a backward pass written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from fersweep.trainables.fused_training.program import Program
from fersweep.trainables.fused_training.variables import Variable

Blocks = Mapping[str, Tensor]
"""Block → its values, or their gradients, (…, rows, columns)."""


class Mask(NamedTuple):
    """What of a batch is dropped: (rows, columns) of each step, each number with the chance `rate`."""

    rows: int
    columns: int
    rate: float


class Net(Protocol):
    """A net's shape. It holds no values: members do.

    Attributes:
        key: what nets of one stack have in common.
        variables: those that are trained, in Keras's order.
        moving: name → first values of what changes without a gradient, each (units, 1), such as running means.
        order: names in the order in which a Keras checkpoint has the variables of a net; `seed`: a state of Keras's dropout.
    """

    key: tuple[Any, ...]
    variables: list[Variable]
    moving: dict[str, np.ndarray]
    order: list[str]

    @property
    def numbers_of_a_face(self) -> int:
        """How many numbers a forward pass keeps of a face, about."""
        ...

    def first_values(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Variable → its first values, in Keras's shape."""
        ...

    def masks(self, batch: int) -> list[Mask]:
        """What is dropped in a step with so many faces."""
        ...

    def forward(
        self, program: Program, blocks: Blocks, moving: Blocks, x: Tensor, masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, Any]:
        """Have the program compute logits (…, C, B) of x (…, B, F + 1), whose last column is 1 → these, and what `backward`
        needs. `masks`: of training; None: it predicts.
        """
        ...

    def backward(self, program: Program, blocks: Blocks, gradients: Blocks, kept: Any, gradient: Tensor) -> None:
        """Have it compute the gradient of each block that is not idle, from that of the logits."""
        ...
