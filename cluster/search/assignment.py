"""What a worker gets: a trial, and from where on it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fersweep.results.record.checkpoints import Adopted
from fersweep.results.record.journal import SweepRecord


@dataclass(frozen=True)
class Assignment:
    """What a worker gets: a trial, its hparams, and how many of its epochs are in the journal already.

    `earlier`: (last epoch, hparams) of what it was trained with before; `adopts`: whose checkpoint its present hparams began
    with (PBT).
    """

    trial: int
    hparams: dict[str, Any]
    known_epochs: int
    earlier: tuple[tuple[int, dict[str, Any]], ...] = ()
    adopts: Adopted | None = None


def assignment_of(record: SweepRecord, number: int) -> Assignment:
    """What a worker gets of a trial now."""
    trial, adopts = record.trials[number], None
    now, epoch = trial.now, trial.now.first - 1
    if now.donor is not None:
        adopts = Adopted(now.donor, epoch, record.trials[now.donor].at(epoch).hparams)
    return Assignment(number, now.hparams, trial.num_epochs, trial.earlier(), adopts)
