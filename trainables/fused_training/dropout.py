"""What dropout leaves: masks of 0 and 1 / (1 - rate), drawn from a member's seed and epoch alone, so that they do not depend on
who else is in a population, nor on a break.
"""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fersweep.trainables.fused_training.net import Mask

CHUNK = 16  # steps that are drawn at once
LEVELS = 65_536  # a rate is rounded to one of so many
DROPOUT = 2  # what of a member's seed and epoch is drawn


class Masks:
    """An epoch's masks, in order: of each step, one (rows, columns) float32 of each of `wanted`."""

    def __init__(self, wanted: Sequence[Mask], seed: int, epoch: int, num_steps: int, device: torch.device):
        self._wanted, self._num_steps, self._device = wanted, num_steps, device
        self._generators = [np.random.Generator(np.random.SFC64([seed, epoch, DROPOUT, i])) for i in range(len(wanted))]

    def __iter__(self) -> Iterator[list[Tensor]]:
        for start in range(0, self._num_steps, CHUNK):
            size = min(CHUNK, self._num_steps - start)
            drawn = [self._drawn(mask, rng, size) for mask, rng in zip(self._wanted, self._generators, strict=True)]
            for step in range(size):
                yield [masks[step] for masks in drawn]

    def _drawn(self, mask: Mask, rng: np.random.Generator, size: int) -> Tensor:
        """(size, rows, columns)."""
        numbers = rng.integers(LEVELS, size=(size, mask.rows, mask.columns), dtype=np.uint16)
        kept = numbers >= round(mask.rate * LEVELS)
        return torch.from_numpy(np.multiply(kept, np.float32(1 / (1 - mask.rate)), dtype=np.float32)).to(self._device)
