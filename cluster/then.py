"""The second of two sweeps (`then:` in a sweep file): the best points of the first one, on more faces or for longer.

A search on a fraction of the faces costs a fraction, and what is good there is among the good on all of them; only the
few best are worth the whole price.
"""

from __future__ import annotations

from pathlib import Path

from cluster.drive import Outcome
from cluster.launch import launch
from cluster.resume import resume
from cluster.sweep import Sweep
from results.sweeps import load_sweep


def go_on(
    first: Outcome,
    following: Sweep,
    address: str | None = None,
    *,
    data: Path | None = None,
    retry_failed: bool = False,
) -> Outcome:
    """Run the sweep that follows a finished one, or go on with it where it has begun. `data`, `retry_failed`: as `resume`.

    Raises InputError where the first has too few trials to go on with.
    """
    directory = first.directory.with_name(following.name)
    if directory.exists():
        return resume(directory, address, data=data, retry_failed=retry_failed)
    described, _ = load_sweep(first.directory)
    return launch(following, Path(described["dataset"]["path"]), first.directory.parent.parent, address)
