"""What a sampler is made from, and what it is shown; importing this module loads no Optuna."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Shown:
    """What a sampler sees of the journal.

    newest: so many of the newest trials that have ended and not failed, beside the best and the running ones; None: all trials.
    judge_stopped: stopped trials count as finished, with their best value. curves: the values of all epochs. judge_running:
    running trials that have reported count as stopped now, of one objective; else what they have reached is not shown.
    keeps: what it writes into attributes is recorded, and shown to it again.
    """

    newest: int | None = None
    best: int = 0
    judge_stopped: bool = False
    judge_running: bool = False
    curves: bool = False
    keeps: bool = True


@dataclass(frozen=True)
class Asked:
    """What a sampler is made from, for one trial.

    seed: of this trial; sweep_seed: the same for all. space: what every trial draws; conditional: what only some do.
    storage: of the study that it is asked in; optimizers: those of CMA-ES that were made for earlier suggestions.
    """

    options: Any
    seed: int
    sweep_seed: int
    space: Mapping[str, BaseDistribution]
    conditional: Mapping[str, BaseDistribution]
    storage: optuna.storages.BaseStorage
    optimizers: Callable[[], Any]
