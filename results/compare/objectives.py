"""What tables say of several objectives, of constraints and of what models cost."""

from __future__ import annotations

from collections.abc import Mapping

from fersweep.results.compare.data import FrontFigures, SweepTrials, TrialRow
from fersweep.results.record.journal import trial_name
from fersweep.results.record.ranking.order import COSTS

HEADINGS = {"latency_ms": "ms a face", "weights": "weights", "checkpoint_bytes": "checkpoint", "train_s": "train s"}


def cost_columns(compared: SweepTrials) -> dict[str, str]:
    """Headings of the costs that are shown: latency and weights, and those that the sweep looks at → their names."""
    asked = [*compared.objectives, *compared.constraints]
    shown = [name for name in COSTS if name in ("latency_ms", "weights") or any(name in text for text in asked)]
    return {HEADINGS[name]: name for name in shown}


def cost_cells(trial: TrialRow, columns: Mapping[str, str]) -> list[str]:
    """The costs under these headings; a dash where one was not measured."""
    return [cost_text(name, trial.costs.get(name)) for name in columns.values()]


def cost_text(name: str, value: float | None) -> str:
    """A cost as people write it: 0.31 ms, 12,727 weights, 152.3 kB."""
    if value is None:
        return "–"
    if name == "checkpoint_bytes":
        from rich.filesize import decimal

        return decimal(int(value))
    return f"{value:,.0f}" if name == "weights" else f"{value:.3g}"


def front_heading(compared: SweepTrials) -> list[str]:
    """A column where there are several objectives."""
    return ["front"] if len(compared.objectives) > 1 else []


def front_cell(compared: SweepTrials, trial: TrialRow) -> list[str]:
    """`front`, `front, knee`, or the number of the front that the trial is on; `infeasible`."""
    if not front_heading(compared):
        return []
    if trial.infeasible:
        return ["infeasible"]
    if trial.front:
        return [str(trial.front)]
    return ["★ knee" if compared.front and trial.trial == compared.front.knee else "★"]


def infeasible_lines(compared: SweepTrials) -> list[str]:
    """`0007 is infeasible: latency_ms 7.1 > 5`, of those that are shown."""
    return [f"{trial_name(row.trial)} is infeasible: {row.infeasible}" for row in compared.trials if row.infeasible]


def front_line(compared: SweepTrials, front: FrontFigures) -> str:
    """What the front is, and what `promote --pick` would take of it."""
    best = ", ".join(f"best {name} {trial_name(number)}" for name, number in front.best.items())
    objectives = " and ".join(f"{mode} {name}" for name, mode in compared.objectives.items())
    return (
        f"The front of {objectives} has {len(front.trials)} trial{'s' * (len(front.trials) > 1)}: knee {trial_name(front.knee)}, {best}; it dominates "
        f"{front.hypervolume:.0%} of what is between the best and the worst values."
    )
