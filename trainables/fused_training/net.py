"""What a stack of members trains: a net with a backward pass written by hand.

PyTorch's own would take longer: for nets this small its bookkeeping is most of the time (benchmarks/models/fused.py).
A stack trains members of one `key` at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from fersweep.trainables.fused_training.variables import Variable

Values = Mapping[str, Tensor]
"""Variable → its values (…, outputs, inputs)."""


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
    variables: Sequence[Variable]
    moving: Mapping[str, np.ndarray]
    order: Sequence[str]

    def first_values(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Variable → its first values, in Keras's shape."""
        ...

    def masks(self, batch: int) -> list[Mask]:
        """What is dropped in a step with so many faces."""
        ...

    def forward(self, values: Values, moving: Values, x: Tensor, masks: Sequence[Tensor] | None) -> tuple[Tensor, Any]:
        """x (…, B, F) → logits (…, C, B), and what `backward` needs. `masks`: None: it does not train, and predicts."""
        ...

    def backward(self, values: Values, gradients: Values, kept: Any, gradient: Tensor) -> None:
        """Write the gradient of each variable that is not idle, from that of the logits."""
        ...
