"""What a sweep needs beside time: memory, a share of a GPU, and disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean

from fersweep.cluster.planning.costs import Costs, TrialCost
from fersweep.cluster.planning.estimate import Range
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables import gpu_share


@dataclass(frozen=True)
class Memory:
    """Bytes. `rss`: of the largest trial's process; `here`: of all that run at once; `machine`: what this machine has.

    `gpu`: of a GPU, with its context; `gpu_share`: the least `resources.gpus` that holds it; None: no GPU was there.
    """

    rss: int
    here: int
    machine: int
    gpu: int | None = None
    gpu_total: int | None = None
    gpu_share: float | None = None


def memory_of(costs: Costs, at_once: int) -> Memory:
    typical = costs.typical()
    memory = Memory(
        rss=typical.rss_bytes,
        here=typical.rss_bytes * max(at_once, 1),
        machine=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )
    if typical.gpu_bytes is None:
        return memory
    held, total = typical.gpu_bytes + gpu_share.CONTEXT_BYTES, costs.gpu_total_bytes
    with contextlib.suppress(RuntimeError):
        total = total or gpu_share.total_bytes()
    return replace(memory, gpu=held, gpu_total=total, gpu_share=held / total if total else None)


def disk_bytes(sweep: Sweep, costs: Sequence[TrialCost], places: int, num_val: int, num_classes: int) -> Range:
    """Checkpoints of the kept trials, of one epoch or two each, of those that run (up to three), and every trial's answers."""
    number = sweep.search.num_trials
    kept = min(sweep.keep_checkpoints or number, number)
    largest, typical = max(cost.checkpoint_bytes for cost in costs), mean(cost.checkpoint_bytes for cost in costs)
    answers = number * num_val * (4 + 4 * num_classes)
    running = min(places, number)
    return Range(
        kept * typical + answers,
        (kept * 1.5 + running * 2) * typical + answers,
        (kept * 2 + running * 3) * largest + answers,
    )
