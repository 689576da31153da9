"""The schedulers that a sweep file can name, and the options of each; cluster/schedulers/ has their rules."""

from __future__ import annotations

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


SCHEDULERS: dict[str, type[Scheduler]] = {"asha": Asha, "none": Never}


def rungs(grace_epochs: int, reduction: int, max_epochs: int) -> list[int]:
    """grace_epochs · reduction^k below max_epochs, ascending."""
    levels: list[int] = []
    level = grace_epochs
    while level < max_epochs:
        levels.append(level)
        level *= reduction
    return levels
