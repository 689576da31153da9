"""How far a trial has come, in epochs or in seconds of training, and which of its epochs count at a rung."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from fersweep.results.record.trial_record import TrialRecord

OUT_OF_TIME = "trained for"  # begins the reason of a trial that ended at `max_s`


def takes_part(trial: TrialRecord) -> bool:
    """Whether others are compared with a trial: not with a repeat of a finalist, nor with one that was stopped because it never
    will keep to a constraint.
    """
    return trial.repeat_of is None and not trial.is_infeasible


def training_seconds(epoch_s: Iterable[float]) -> list[float]:
    """Seconds of training by the end of each epoch, of those that each took; an unmeasured one (NaN) counts as none."""
    return list(accumulate(seconds if seconds > 0 else 0.0 for seconds in epoch_s))


def progress(trial: TrialRecord, unit: str) -> Sequence[float]:
    """How far the trial had come by the end of each of its epochs: 1, 2, …, or seconds of training; ascending."""
    if unit == "epochs":
        return range(1, trial.num_epochs + 1)
    return training_seconds(trial.epochs.column("epoch_s"))


def epochs_at(come: Sequence[float], level: float) -> int | None:
    """How many epochs count at `level`: those that had begun before it, so up to the one that reaches it; None: the trial
    has not come so far. What a trial trains later never changes that.
    """
    index = bisect_left(come, level)
    return index + 1 if index < len(come) else None


def crossed(trial: TrialRecord, levels: Sequence[float], unit: str, before: int) -> Iterator[tuple[int, float, int]]:
    """(index, level, epochs that count there) of the `levels` that the trial has reached since epoch `before`."""
    come = progress(trial, unit)
    for index in range(bisect_right(levels, come[before - 1]) if before else 0, len(levels)):
        count = epochs_at(come, levels[index])
        if count is None:
            return
        yield index, levels[index], count
