"""The schedulers that a sweep file can name, and the options of each; cluster/schedulers/ has their rules."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fersweep.search_spaces.sweep_file.sections.part import Part


class Scheduler(Part):
    """Options of a scheduler."""

    def rungs(self, grace_epochs: int, reduction: int, max_epochs: int) -> list[int]:
        """Epochs at which trials are compared, ascending: a report ends there. None of them is `max_epochs`."""
        return []


class Asha(Scheduler):
    """Asynchronous successive halving (Li et al. 2018, arXiv:1810.05934)."""

    def rungs(self, grace_epochs: int, reduction: int, max_epochs: int) -> list[int]:
        return rungs(grace_epochs, reduction, max_epochs)


class Never(Scheduler):
    """Every trial trains all its epochs."""


class Pbt(Scheduler):
    """Population Based Training (Jaderberg et al. 2017, arXiv:1711.09846): the sweep's trials are the population.

    Every `interval` epochs a trial is compared with those that have reached the same epoch. One of the lowest `quantile` goes on
    from the checkpoint of one of the highest, with its hparams, of which those of `perturb` are changed: each times one of
    `factors`, or, with probability `resample`, drawn anew.
    """

    interval: int = Field(5, ge=1)
    quantile: float = Field(0.25, gt=0, le=0.5)
    perturb: list[str] = Field(default_factory=lambda: ["learning_rate"], min_length=1)
    factors: list[Annotated[float, Field(gt=0)]] = Field(default_factory=lambda: [0.8, 1.25], min_length=1)
    resample: float = Field(0.25, ge=0, le=1)

    def rungs(self, grace_epochs: int, reduction: int, max_epochs: int) -> list[int]:
        return list(range(self.interval, max_epochs, self.interval))


SCHEDULERS: dict[str, type[Scheduler]] = {"asha": Asha, "none": Never, "pbt": Pbt}


def rungs(grace_epochs: int, reduction: int, max_epochs: int) -> list[int]:
    """grace_epochs · reduction^k below max_epochs, ascending."""
    levels: list[int] = []
    level = grace_epochs
    while level < max_epochs:
        levels.append(level)
        level *= reduction
    return levels
