"""Which comparison `fersweep compare` is asked for, and how it is shown.

NAME: the trials of a sweep. NAME NAME…: sweeps by their best trials. NAME:3 NAME:7, of one sweep or of two: two trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.common.errors import InputError
from fersweep.results.compare import page as compare_page
from fersweep.results.compare import sweeps, tables, trials
from fersweep.results.record.home import find_sweep, split_spec

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fersweep.results.scores.figures import Figures


@dataclass(frozen=True)
class Comparison:
    """What was found, JSON-able, and what makes tables for the terminal and an HTML page of it."""

    found: dict[str, Any]
    render: Callable[[dict[str, Any]], RenderableType]
    page: Callable[[dict[str, Any]], str]


def comparison(
    home: Path,
    names: Sequence[str],
    top: int = 10,
    trees: Callable[[Path], Figures] | None = None,
    differences: tuple[str, str] | None = None,
) -> Comparison:
    """Compare what `names` name.

    Args:
        trees: makes the boosted trees that stand beside a sweep's trials; of one sweep alone.
        differences: two trials to compare instead, `SWEEP:NUMBER`, or their numbers in the one sweep that is named.

    Raises:
        InputError: there is no such sweep or trial, or what is named cannot be compared in one go.
    """
    if differences is not None:
        names = [_within(names, one) for one in differences]
    of_trials = differences is not None or any(split_spec(name)[1] is not None for name in names)
    if trees is not None and (len(names) > 1 or of_trials):
        raise InputError("--trees stands beside the trials of one sweep: name one, without a trial")
    if of_trials:
        if len(names) != 2:
            raise InputError(f"two trials are compared at a time, but got {' '.join(names)}")
        a, b = (sweeps.choose(home, name) for name in names)
        found = sweeps.differences(a, b)
        return Comparison(found, tables.render_differences, compare_page.differences_page)
    if len(names) > 1:
        found = sweeps.compare_sweeps(home, names, top)
        return Comparison(found, tables.render, compare_page.sweeps_page)
    directory = find_sweep(home, names[0])
    found = trials.compare(directory, top, trees(directory) if trees else None)
    return Comparison(found, trials.render, compare_page.sweep_page)


def _within(names: Sequence[str], trial: str) -> str:
    """`7` → `NAME:7` where one sweep is named."""
    if not trial.isdigit():
        return trial
    if len(names) != 1:
        raise InputError(f"--differences {trial}: of which of {' '.join(names)}? write SWEEP:{trial}")
    return f"{names[0]}:{trial}"
