"""What `fersweep status` shows on a terminal: two tables, and the commands that go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.display.tables import age, table
from fersweep.common.text import printable
from fersweep.results.dashboards.status import Failure, SweepStatus
from fersweep.results.record.home import why_none
from fersweep.results.record.journal import trial_name

if TYPE_CHECKING:
    from rich.console import RenderableType

COUNTED = ("finished", "stopped", "failed", "open", "epochs", "disk")
UNKNOWN = "–"
NUM_REASONS, NUM_LINES = 3, 12


def render(sweeps: Sequence[SweepStatus], home: Path) -> RenderableType:
    """What `status` returned, as tables for the terminal, and the commands that go on."""
    from rich.console import Group
    from rich.text import Text

    if not sweeps:
        return Text(
            f"No sweeps in {home}: {why_none(home)}. `fersweep launch quick --data DATASET` makes one, `fersweep demo` data too."
        )
    overview = table(["sweep", "state", "ended", "best", "trial", "seen"], 2)
    counts = table(["sweep", *COUNTED], 1)
    for sweep in sweeps:
        overview.add_row(*_overview(sweep))
        counts.add_row(*_counts(sweep))
    lines = [
        line
        for sweep in sweeps
        for line in (
            *_failures(sweep),
            _budget(sweep),
            _fused(sweep),
            _planned(sweep),
            _mlflow(sweep),
            *_callbacks(sweep),
            f"{sweep.sweep}: {printable(sweep.code)}" if sweep.code else "",
            _next(sweep),
        )
        if line
    ]
    return Group(overview, counts, *map(Text, lines))


def _overview(sweep: SweepStatus) -> list[str]:
    best = sweep.best
    return [
        sweep.sweep,
        sweep.state,
        UNKNOWN if sweep.num_ended is None else f"{sweep.num_ended}/{sweep.num_trials}",
        f"{best.value:.4f}" if best else UNKNOWN,
        (trial_name(best.trial) if best else UNKNOWN) + (f", front {sweep.front}" if sweep.front else ""),
        UNKNOWN if sweep.age_s is None else f"{age(sweep.age_s)} ago",
    ]


def _counts(sweep: SweepStatus) -> list[str]:
    """A trial is open while its end is not recorded: it is in training, or its driver is gone."""
    from rich.filesize import decimal

    trials, epochs = sweep.trials, sweep.epochs
    numbers = [str(trials[state]) if trials else UNKNOWN for state in ("finished", "stopped", "failed", "running")]
    return [sweep.sweep, *numbers, UNKNOWN if epochs is None else str(epochs), decimal(sweep.disk_bytes)]


def _failures(sweep: SweepStatus) -> list[str]:
    """The commonest reasons of trials that failed, each with the last lines that the first one's process wrote."""
    of_reason: dict[str, list[Failure]] = {}
    for failure in sweep.failures:
        of_reason.setdefault(str(failure.reason), []).append(failure)
    lines: list[str] = []
    for reason, failures in sorted(of_reason.items(), key=lambda pair: -len(pair[1]))[:NUM_REASONS]:
        which = ", ".join(trial_name(failure.trial) for failure in failures[:3]) + ("…" if len(failures) > 3 else "")
        lines += [f"{sweep.sweep}, {len(failures)} failed ({which}): {printable(reason)}"]
        lines += [f"    {printable(line)}" for line in failures[0].log[:NUM_LINES]]
    return lines


def _budget(sweep: SweepStatus) -> str:
    parts = [f"finalists: {sweep.finalists}"] if sweep.finalists else []
    if sweep.budget:
        parts.insert(0, f"budget{', spent' if sweep.spent else ''}: {', '.join(sweep.budget)}")
    return f"{sweep.sweep}: {'; '.join(parts)}" if parts else ""


def _fused(sweep: SweepStatus) -> str:
    if (sweep.fused or 1) == 1:
        return ""
    return f"{sweep.sweep}: up to {sweep.fused} trials at once in each worker"


def _planned(sweep: SweepStatus) -> str:
    return f"{sweep.sweep}: {sweep.planned}" if sweep.planned else ""


def _mlflow(sweep: SweepStatus) -> str:
    return f"{sweep.sweep}: MLflow: {printable(sweep.mlflow)}" if sweep.mlflow and sweep.sync is None else ""


def _callbacks(sweep: SweepStatus) -> list[str]:
    return [f"{sweep.sweep}: callbacks: {printable(line)}" for line in sweep.callbacks]


def _next(sweep: SweepStatus) -> str:
    """A line on a sweep that needs attention; its command has a line of its own, to be copied."""
    driver = f" (process {sweep.driver.pid} on {sweep.driver.host})" if sweep.driver else ""
    if sweep.state == "unreadable":
        return f"{sweep.sweep} is unreadable: {sweep.reason}"
    if sweep.state == "running":
        return f"{sweep.sweep} is running{driver}"
    if sweep.resume is None:
        return ""
    return f"{sweep.sweep} {_why(sweep)}{driver if sweep.state != 'finished' else ''}; go on with\n  {sweep.resume}"


def _why(sweep: SweepStatus) -> str:
    if sweep.state == "finished":
        return (
            f"has {sweep.num_left} trials left" if sweep.num_left and not sweep.spent else "has finalists left to run"
        )
    what = "failed" if sweep.state == "failed" else f"was {sweep.reason}"
    ago = "" if sweep.age_s is None else f" {age(sweep.age_s)} ago"
    return what + ago + (f", {sweep.reason}" if sweep.state == "failed" and sweep.reason else "")
