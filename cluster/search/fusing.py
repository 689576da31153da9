"""How many trials of a sweep train at once in one worker (`resources.fuse`)."""

from __future__ import annotations

from collections.abc import Callable

from fersweep import trainables
from fersweep.search_spaces.sweep_file.schema import Sweep

SHARE = 6  # of a search's trials, one in so many at once


def most_at_once(num_trials: int, places: int) -> int:
    """Up to how many trials of a search train at once, in all its workers together, where the sweep file leaves that open. A
    sampler that is asked for many points at once knows less of those before them.
    """
    return max(num_trials // SHARE, places)


def most_fused(sweep: Sweep, places: Callable[[], int]) -> int:
    """Up to how many trials train at once in a worker; 1: they do not. places: how many workers there are; it is called where
    that matters.
    """
    asked = sweep.resources.fuse
    if asked == 1 or not can_fuse(sweep):
        return 1
    if asked != "auto":
        return asked
    pays = trainables.load(sweep.trainable).MOST_FUSED.get("gpu" if sweep.resources.gpus else "cpu", 1)
    if pays <= 1:
        return 1
    workers = max(places(), 1)
    return min(pays, max(most_at_once(sweep.search.num_trials, workers) // workers, 1))


def can_fuse(sweep: Sweep) -> bool:
    """Not where a trial is of several folds, or where it has one attempt: that it would have alone."""
    return sweep.task.fold != "all" and sweep.failures.max_retries > 0 and trainables.fuses(sweep.trainable)
