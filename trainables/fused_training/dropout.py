"""What dropout leaves: masks of 0 and 1 / (1 - rate), drawn from a member's seed and epoch alone, so that they do not depend on
who else is in a population, nor on a break.

On a CPU they come from NumPy, the fastest there. On a GPU they are a hash of where a number is, since a generator for each
member would have to be launched for each member. The two draw different masks.
"""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from fersweep.trainables.fused_training.net import Mask

LEVELS = 65_536  # a rate is rounded to one of so many
FIRST, SECOND, SHIFT = (
    -1640531535,
    -2048144789,
    15,
)  # of the hash: odd numbers, as 32 bits with a sign (xxHash's primes)


class Masks:
    """The masks of a stack. `wanted`: of each member, alike but for the rates.

    Attributes:
        tensors: (…, rows, columns), which `draw` fills for the next step.
    """

    def __init__(self, wanted: Sequence[Sequence[Mask]], device: torch.device, hashed: bool | None = None):
        lead = () if len(wanted) == 1 else (len(wanted),)
        self._wanted, self._device = wanted, device
        self.tensors = [torch.ones(*lead, mask.rows, mask.columns, device=device) for mask in wanted[0]]
        self._hashed = device.type != "cpu" if hashed is None else hashed
        self._draws: list[Callable[[int], None]] = []

    def start(self, seeds: Sequence[tuple[int, int]], num_steps: int) -> None:
        """Begin an epoch. `seeds`: (seed, epoch) of each member."""
        make = self._hash if self._hashed else self._numpy
        self._draws = [make(index, seeds, num_steps) for index in range(len(self.tensors))]

    def draw(self, step: int) -> None:
        for draw in self._draws:
            draw(step)

    def _numpy(self, index: int, seeds: Sequence[tuple[int, int]], num_steps: int) -> Callable[[int], None]:
        rows, columns, _ = self._wanted[0][index]
        size, parts = rows * columns, list[tuple[np.random.SFC64, np.ndarray, int, np.float32]]()
        tensors = self.tensors[index].view(len(self._wanted), size)
        for seed, masks, tensor in zip(seeds, self._wanted, tensors, strict=True):
            rate = masks[index].rate
            parts.append(
                (np.random.SFC64([*seed, index]), tensor.numpy(), round(rate * LEVELS), np.float32(1 / (1 - rate)))
            )
        kept = np.empty(size, bool)

        def draw(step: int) -> None:
            for bits, mask, dropped, scale in parts:
                numbers = bits.random_raw(-(-size // 4)).view(np.uint16)[:size]
                np.greater_equal(numbers, dropped, out=kept)
                np.multiply(kept, scale, out=mask)

        return draw

    def _hash(self, index: int, seeds: Sequence[tuple[int, int]], num_steps: int) -> Callable[[int], None]:
        mask, tensor, device = self._wanted[0][index], self.tensors[index], self._device
        places = torch.arange(mask.rows * mask.columns, dtype=torch.int32, device=device).view(mask.rows, mask.columns)
        keys = np.stack(
            [np.random.default_rng([*seed, index]).integers(-(2**31), 2**31, num_steps) for seed in seeds], 1
        )
        keys = torch.from_numpy(keys.astype(np.int32)).to(device)
        rates = torch.tensor([masks[index].rate for masks in self._wanted], dtype=torch.float64)
        dropped = (-(2**31) + rates * 2**32).to(torch.int64).to(device)
        shape = (-1, 1, 1) if tensor.ndim == 3 else (1, 1)
        dropped, scale = dropped.to(torch.int32).view(shape), (1 / (1 - rates)).float().to(device).view(shape)

        def draw(step: int) -> None:
            numbers = (places ^ keys[step].view(shape)).mul_(FIRST)
            numbers.bitwise_xor_(numbers >> SHIFT).mul_(SECOND)
            numbers.bitwise_xor_(numbers >> SHIFT).mul_(FIRST)
            torch.mul(numbers >= dropped, scale, out=tensor)

        return draw
