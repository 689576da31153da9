"""Which comparison `fersweep compare` is asked for, and how it is shown.

NAME: the trials of a sweep. NAME NAME…: sweeps by their best trials. NAME:3 NAME:7, of one sweep or of two: two trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fersweep.common.errors import InputError
from fersweep.results.compare import page, sweeps, tables, trials
from fersweep.results.compare.data import ComparedSweeps, ComparedTrials, SweepTrials
from fersweep.results.record.home import find_sweep, split_spec

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fersweep.results.scores.figures import Figures

Result = TypeVar("Result", SweepTrials, ComparedSweeps, ComparedTrials)


@dataclass(frozen=True)
class Comparison(Generic[Result]):
    """The result of a comparison, and what makes tables for the terminal and an HTML page of it."""

    result: Result
    make_tables: Callable[[Result], RenderableType]
    make_page: Callable[[Result], str]

    def as_json(self) -> dict[str, Any]:
        return self.result.as_json()

    def render(self) -> RenderableType:
        """Tables for the terminal."""
        return self.make_tables(self.result)

    def page(self) -> str:
        """An HTML page."""
        return self.make_page(self.result)


def comparison(
    home: Path,
    names: Sequence[str],
    top: int = 10,
    trees: Callable[[Path], Figures] | None = None,
    differences: tuple[str, str] | None = None,
) -> Comparison[SweepTrials] | Comparison[ComparedSweeps] | Comparison[ComparedTrials]:
    """Compare what `names` name.

    Args:
        trees: trains boosted trees on the task of a sweep's directory: one more baseline, of one sweep alone.
        differences: two trials to compare instead, `SWEEP:NUMBER`, or their numbers in the one sweep that is named.

    Raises:
        InputError: there is no such sweep or trial, or the names cannot be compared with each other.
    """
    if differences is not None:
        names = [_within(names, trial) for trial in differences]
    of_trials = differences is not None or any(split_spec(name)[1] is not None for name in names)
    if trees is not None and (len(names) > 1 or of_trials):
        raise InputError("--trees needs one sweep: name one, without a trial")
    if of_trials:
        if len(names) != 2:
            for name in names:
                sweeps.choose(home, name)  # one that does not exist is said first
            raise InputError(f"two trials are compared at a time, but got {' '.join(names)}")
        _refuse_twice(names)
        a, b = (sweeps.choose(home, name) for name in names)
        return Comparison(sweeps.compare_trials(a, b), tables.render_trials, page.trials_page)
    _refuse_twice(names)
    if len(names) > 1:
        return Comparison(sweeps.compare_sweeps(home, names, top), tables.render_sweeps, page.sweeps_page)
    directory = find_sweep(home, names[0])
    compared = trials.compare(directory, top, trees(directory) if trees else None)
    return Comparison(compared, tables.render_sweep, page.sweep_page)


def _refuse_twice(names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InputError(f"{name} is named twice: name what it is compared with")


def _within(names: Sequence[str], trial: str) -> str:
    """`7` → `NAME:7` where one sweep is named."""
    if not trial.isdigit():
        return trial
    if len(names) != 1:
        raise InputError(f"--differences {trial}: of which of {' '.join(names)}? write SWEEP:{trial}")
    return f"{names[0]}:{trial}"
