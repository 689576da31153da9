"""How much of its budget (`stop.sweep`) a search has spent, by its journal alone."""

from __future__ import annotations

from dataclasses import dataclass

from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.ranking.derived import SearchTotals
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.trial_record import TrialRecord
from fersweep.search_spaces.sweep_file.schema import Sweep

KEY = "stop.sweep."
CUTTING = ("hours", "target")  # running trials end at their next report


@dataclass(frozen=True)
class Spending:
    """One part of a budget. `left`: hours, epochs or trials that are not spent, not below 0; of a target 1, or 0 if it is met."""

    name: str
    text: str
    left: float

    @property
    def key(self) -> str:
        """As a sweep file has it."""
        return KEY + self.name

    @property
    def reached(self) -> bool:
        return self.left <= 0

    @property
    def reason(self) -> str:
        return f"{self.key}: {self.text}"


def spending(record: SweepRecord, sweep: Sweep) -> list[Spending]:
    """Each part of the budget that a sweep file gives, in the order in which they are looked at; [] where it gives none."""
    stop, budget, parts = sweep.stop, sweep.stop.sweep, list[Spending]()
    if budget is None:
        return []
    best = record.ranking(order_of(sweep)).best()
    row = best.best(stop.metric, stop.mode) if best else None
    if budget.hours is not None:
        hours = record.spent.seconds / 3600
        parts.append(Spending("hours", f"{_hours(hours)} of {budget.hours:g} h", max(budget.hours - hours, 0.0)))
    if budget.epochs is not None:
        epochs = record.derived(SearchTotals).num_epochs
        parts.append(Spending("epochs", f"{epochs:,} of {budget.epochs:,} epochs", max(budget.epochs - epochs, 0)))
    if budget.no_better_in is not None:
        since = record.spent.ends_since(best, int(row["epoch"]) if row else 0)
        text = f"{since} of {budget.no_better_in} trials without a better one"
        parts.append(Spending("no_better_in", text, max(budget.no_better_in - since, 0)))
    for metric, target in (budget.target or {}).items():
        value, sign = (None if row is None else row[metric]), 1 if stop.mode == "max" else -1
        met = value is not None and sign * value >= sign * target
        so_far = "none" if value is None else f"{value:.4f}"
        parts.append(Spending("target", f"{metric} {so_far} of {target:g}", 0.0 if met else 1.0))
    return parts


def reached(record: SweepRecord, sweep: Sweep) -> Spending | None:
    """The first part of the budget that is spent."""
    return next((part for part in spending(record, sweep) if part.reached), None)


def cuts(record: SweepRecord, sweep: Sweep) -> str | None:
    """Why a running trial of the search ends at its next report; None: no such part of the budget is spent."""
    parts = (part for part in spending(record, sweep) if part.name in CUTTING and part.reached)
    return next((part.reason for part in parts), None)


def was_cut(trial: TrialRecord) -> bool:
    """Whether the budget ended a trial: with a larger one it can go on."""
    return trial.state == "stopped" and bool(trial.reason) and str(trial.reason).startswith(KEY)


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours >= 0.95 else f"{hours:.2g}"
