"""How many trials of a sweep train at once in one worker (`resources.fuse`)."""

from __future__ import annotations

from collections.abc import Callable

from fersweep.search_spaces.sweep_file.fusing import in_populations, most_that_pay
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.sections.samplers import SAMPLERS

TRIALS_FOR_EACH = 12  # of a search whose sampler learns, for each that trains at once


def most_at_once(sweep: Sweep, places: int) -> int:
    """Up to how many trials train at once, in all workers together, where the sweep file leaves that open. A sampler that is asked for
    many points at once knows less of those before them: docs/explanation/measurements.md, More trials at once.
    """
    num_trials = sweep.search.num_trials
    sampler = SAMPLERS.get(sweep.search.sampler)
    learns = sampler is None or sampler.LEARNS  # one of somebody's own may
    return max(num_trials // TRIALS_FOR_EACH if learns else num_trials, places)


def most_fused(sweep: Sweep, places: Callable[[], int]) -> int:
    """Up to how many trials train at once in a worker. places: how many workers there are; it is called where that matters.

    One where a trial has a single attempt: that it would have alone.
    """
    if not in_populations(sweep) or sweep.failures.max_retries == 0:
        return 1
    if sweep.resources.fuse != "auto":
        return sweep.resources.fuse
    workers = max(places(), 1)
    return min(most_that_pay(sweep), max(most_at_once(sweep, workers) // workers, 1))
