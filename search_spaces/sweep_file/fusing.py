"""Which sweeps may train several trials at once in a worker: `resources.fuse`."""

from __future__ import annotations

from fersweep import trainables
from fersweep.search_spaces.sweep_file.schema import Sweep


def in_populations(sweep: Sweep) -> bool:
    """Whether its trials train in populations (trainables/population.py), of one member or more: as `resources.fuse` asks for, and
    where that is left open, if the trainable gains speed by it on such a worker, and nobody asks for the trainable's own latency.
    """
    fuse, name = sweep.resources.fuse, sweep.trainable
    if fuse == 1 or sweep.task.fold == "all" or not trainables.fuses(name):
        return False
    return fuse != "auto" or (most_that_pay(sweep) > 1 and not _asks_for_latency(sweep))


def _asks_for_latency(sweep: Sweep) -> bool:
    asked = [objective.metric for objective in sweep.stop.objectives]
    return any("latency_ms" in text for text in (*asked, *sweep.search.constraints))


def most_that_pay(sweep: Sweep) -> int:
    """Up to how many members a population of its trainable gains speed on one of its workers."""
    return trainables.load(sweep.trainable).MOST_FUSED.get("gpu" if sweep.resources.gpus else "cpu", 1)


def check_fusing(sweep: Sweep) -> None:
    """Raises ValueError where `resources.fuse` asks for several trials at once, and the trainable trains one."""
    fuse = sweep.resources.fuse
    if fuse in ("auto", 1):
        return
    if not trainables.fuses(sweep.trainable):
        able = [name for name in trainables.NAMES if name != trainables.DOUBLE and trainables.fuses(name)]
        offered = f"want {' or '.join(able)}, or resources.fuse: 1" if able else "want resources.fuse: 1"
        raise ValueError(f"resources.fuse: {fuse}, but {sweep.trainable} trains one model at a time: {offered}")
    folds = [("task.fold", sweep.task.fold), ("then.fold", sweep.following.task.fold if sweep.following else None)]
    for key, fold in folds:
        if fold == "all":
            raise ValueError(
                f"resources.fuse: {fuse}, but with {key}: all a trial trains a model for each fold, and none beside others: want "
                "resources.fuse: 1 or auto"
            )


def remark_on_fusing(sweep: Sweep) -> list[str]:
    """Where `resources.fuse` has no effect."""
    if sweep.resources.fuse in ("auto", 1) or sweep.failures.max_retries > 0:
        return []
    return [
        f"without effect: resources.fuse: {sweep.resources.fuse}, as failures.max_retries is 0: a trial's last attempt is made alone"
    ]
