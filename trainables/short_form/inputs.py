"""How a net of pixels wants its faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

GRAY_LEVELS = 255


@dataclass(frozen=True)
class Pixels:
    """What a file says of its faces.

        CHANNELS = 3                         # 1 (gray, the default), or three equal ones
        MEAN = [0.485, 0.456, 0.406]         # what its pretrained weights want: one number, or one a channel, of faces in [0, 1],
        STD = [0.229, 0.224, 0.225]          # as torchvision and timm give them; without them faces have train's mean 0 and std 1

    Attributes:
        mean, std: (channels,) gray levels (0 to 255); None: those of train.
    """

    channels: int = 1
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @classmethod
    def of(cls, file: str, module: ModuleType) -> Pixels:
        """Raises ValueError where they are none."""
        channels = getattr(module, "CHANNELS", 1)
        if channels not in (1, 3) or isinstance(channels, bool):
            raise ValueError(
                f"{file}: CHANNELS is the number of the net's input channels, 1 or 3, but got {channels!r}"
            )
        given: list[Any] = [getattr(module, name, None) for name in ("MEAN", "STD")]
        if given == [None, None]:
            return cls(channels)
        levels = [_levels(value, channels) for value in given]
        mean, std = levels
        if mean is None or std is None or min(std) <= 0:
            raise ValueError(
                f"{file}: MEAN and STD belong together: each one number in [0, 1], or {channels} of them, STD above 0; but got "
                f"MEAN = {given[0]!r}, STD = {given[1]!r}"
            )
        return cls(channels, mean, std)


def _levels(value: Any, channels: int) -> tuple[float, ...] | None:
    """Gray levels of one or several shares; None for what are none."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    given = cast(Any, value)
    values: list[Any] = list(given) if several else [given] * channels
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if (
        len(values) != channels
        or len(numbers) != channels
        or not all(math.isfinite(v) and 0 <= v <= 1 for v in numbers)
    ):
        return None
    return tuple(GRAY_LEVELS * float(v) for v in numbers)
