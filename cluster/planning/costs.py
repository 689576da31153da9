"""What trials cost, as measured: by trying some (measure.py) or by sweeps that have run (past_sweeps.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

VAL_SHARE = 1 / 3  # of the time of a face of train: forward alone, instead of forward and backward


@dataclass(frozen=True)
class TrialCost:
    """What one trial takes of a worker.

    Attributes:
        trial: number of the trial in its sweep; None: it is only like the sweep's trials.
        build_s: from its hparams to a model that can train, in a process that has trained another one before.
        first_s: what its first epoch takes longer than the others: graphs are traced, memory is got.
        epoch_s: of one epoch on all faces of the task, val included.
        report_s: of saving what a report needs.
        checkpoint_bytes: of one checkpoint.
        rss_bytes: memory of its process.
        gpu_bytes: of a GPU, the most that its framework held; None: no GPU was there.
    """

    trial: int | None
    hparams: dict[str, Any]
    build_s: float
    first_s: float
    epoch_s: float
    report_s: float
    checkpoint_bytes: int
    rss_bytes: int
    gpu_bytes: int | None = None

    def scaled(self, faces: float) -> TrialCost:
        """The same on `faces` times as many faces."""
        return replace(self, epoch_s=self.epoch_s * faces)


@dataclass(frozen=True)
class Costs:
    """What the trials of a sweep take.

    Attributes:
        source: "calibration" or "past sweeps".
        trials: at least one.
        start_s: of a worker process, before its first trial: its interpreter, Ray, the framework.
        read_s: of reading the data.
        at_once: processes that trained side by side on one machine.
        failed: number of tried trials that failed, by reason.
        sweeps: names of the past sweeps.
        spread: the largest deviation of one epoch from its trial's others, as a share: how noisy the machine is.
        gpu_total_bytes: of the GPU that they were measured on; None: on CPUs, or not known.
        epochs_tried: how many epochs were trained for it.
        faces_share: of the task's faces that they were trained on.
    """

    source: str
    trials: Sequence[TrialCost]
    start_s: float
    read_s: float
    at_once: int
    failed: dict[str, int] = field(default_factory=dict)
    sweeps: Sequence[str] = ()
    spread: float = 0.0
    gpu_total_bytes: int | None = None
    epochs_tried: int = 0
    faces_share: float = 1.0

    def known(self) -> dict[int, TrialCost]:
        """Those of the sweep's own trials that were tried, by number."""
        return {cost.trial: cost for cost in self.trials if cost.trial is not None}

    @property
    def on_gpu(self) -> bool:
        return any(cost.gpu_bytes is not None for cost in self.trials)

    def typical(self) -> TrialCost:
        """The median of each figure, and the most of memory and disk."""
        of = self.trials
        gpu = [cost.gpu_bytes for cost in of if cost.gpu_bytes is not None]
        return TrialCost(
            trial=None,
            hparams={},
            build_s=median(cost.build_s for cost in of),
            first_s=median(cost.first_s for cost in of),
            epoch_s=median(cost.epoch_s for cost in of),
            report_s=median(cost.report_s for cost in of),
            checkpoint_bytes=max(cost.checkpoint_bytes for cost in of),
            rss_bytes=max(cost.rss_bytes for cost in of),
            gpu_bytes=max(gpu, default=None),
        )


def faces_ratio(num_train: int, num_val: int, then_train: int, then_val: int) -> float:
    """How many times an epoch's work grows from one task's faces to another's."""
    return (num_train + VAL_SHARE * num_val) / max(then_train + VAL_SHARE * then_val, 1.0)
