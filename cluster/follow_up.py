"""The second of two sweeps (`then:` in a sweep file): the best points of the first one, on more faces or for longer.

A search on a fraction of the faces costs a fraction, and points that are good there are among the good ones on all
faces; only the few best are worth the full cost.
"""

from __future__ import annotations

from pathlib import Path

from fersweep.cluster.driver.run_sweep import Outcome
from fersweep.cluster.launch import launch
from fersweep.cluster.resume import resume
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.search_spaces.sweep_file.schema import Sweep


def go_on(
    first: Outcome,
    following: Sweep,
    address: str | None = None,
    *,
    data: str | Path | None = None,
    retry_failed: bool = False,
) -> Outcome:
    """Run the sweep that follows a finished one, or resume it if it has begun. `data`, `retry_failed`: as in `resume`.

    Raises InputError if the first one has too few trials.
    """
    directory = first.directory.with_name(following.name)
    if directory.exists():
        return resume(directory, address, data=data, retry_failed=retry_failed)
    before = read_sweep_json(first.directory)
    data = before.dataset.path
    if following.distil is not None and before.teacher is not None and before.teacher.model is not None:
        same = following.distil.model_copy(
            update={"teacher": before.teacher.model}
        )  # the champion may be another by now
        following = following.model_copy(update={"distil": same})
    return launch(following, data, first.directory.parent.parent, address)
