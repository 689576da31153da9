"""What the live view of a sweep shows, as lines of plain text: a summary, then a line for each trial. Never taller or wider
than the terminal; without Ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from rich.cells import cell_len, set_cell_size

from fersweep.common.display.tables import clock, short
from fersweep.results.record.journal import SweepRecord, TrialRecord, trial_name
from fersweep.results.record.ranking import finalists
from fersweep.results.record.ranking.budget import spending
from fersweep.results.record.ranking.derived import SearchTotals
from fersweep.results.record.ranking.order import Order, order_of
from fersweep.search_spaces.sweep_file.schema import Sweep

GAP = "  "  # between two columns
LONGEST_VALUE = 16  # characters of an hparam
Column = tuple[str, Callable[[TrialRecord], str]]


def summary(
    sweep: Sweep,
    record: SweepRecord,
    seconds: float,
    ended_here: int,
    epochs_here: int,
    baseline: float | None,
    stopping: bool = False,
) -> list[str]:
    """The parts of the summary, the most important first.

    Args:
        seconds: since this driver began; `ended_here` trials have ended since, and `epochs_here` epochs were trained.
        baseline: the metric of always guessing the majority class, if it has one.
        stopping: a stop was requested.
    """
    stop, asked, search = sweep.stop, sweep.search.num_trials, record.derived(SearchTotals)
    counts, budget, final = record.count(), spending(record, sweep), finalists.final(record, sweep)
    parts = [f"{search.num_ended}/{asked} trials"]
    parts += [f"{counts[state]} {state}" for state in ("running", "stopped", "failed") if counts[state]]
    if record.fused > 1:
        parts.append(f"up to {record.fused} at once in a worker")
    order = order_of(sweep)
    ranking = record.ranking(order)
    first, best = ranking.best(), "none feasible yet" if next(iter(ranking), None) else "none yet"
    if first and (row := first.best(stop.metric, stop.mode)):
        best = f"{row[stop.metric]:.4f} (trial {first.name}, epoch {int(row['epoch'])})"
    if order.objectives:
        best += f" · front {len(ranking.front())}"
    eta = _eta(sweep, record, seconds, ended_here, epochs_here)
    parts += [f"best {stop.metric} {best}", f"elapsed {clock(seconds)}", f"ETA {'stopping' if stopping else eta}"]
    parts += [f"{record.num_epochs} epochs, {epochs_here / max(seconds, 1e-9):.1f}/s"]
    if final is not None:
        parts.insert(1, f"finalists: {final.progress}")
    elif budget:
        parts.append(", ".join(part.text for part in budget))
    return parts if baseline is None else [*parts, f"baseline {baseline:.4f}"]


def _eta(sweep: Sweep, record: SweepRecord, seconds: float, ended_here: int, epochs_here: int) -> str:
    """The time left: for the trials that were asked for, or for the budget if that is less, and for the finalists."""
    if not ended_here and not epochs_here:
        return "? (no epoch yet)"
    stop, search, parts = sweep.stop, record.derived(SearchTotals), spending(record, sweep)
    epoch_s = seconds / max(epochs_here, 1)
    over = any(part.reached for part in parts)
    left = len(search.running) if over else sweep.search.num_trials - search.num_ended
    trained = sum(trial.num_epochs for trial in search.running.values())
    search_s = seconds / ended_here * left if ended_here else epoch_s * max(left * stop.max_epochs - trained, 0)
    if stop.max_s is not None and not ended_here:
        search_s = min(search_s, stop.max_s * math.ceil(left / max(len(search.running), 1)))
    pace_s = {"hours": 3600.0, "epochs": epoch_s}
    budget_s = min((part.left * pace_s[part.name] for part in parts if part.name in pace_s), default=math.inf)
    repeats_s = epoch_s * _epochs_of_repeats(sweep, record)
    exact = ended_here or budget_s < search_s  # else as if each trial had all its epochs
    return f"{'' if exact else 'under '}{clock((search_s if over else min(search_s, budget_s)) + repeats_s)}"


def _epochs_of_repeats(sweep: Sweep, record: SweepRecord) -> int:
    """At most so many are still to be trained by finalists."""
    if sweep.finalists is None:
        return 0
    final = finalists.final(record, sweep)
    left = final.asked - final.ended if final else sweep.finalists.num_repeats
    trained = sum(trial.num_epochs for trial in record.running.values() if trial.repeat_of is not None)
    return max(left * sweep.stop.max_epochs - trained, 0)


def frame(title: str, parts: Sequence[str], sweep: Sweep, record: SweepRecord, width: int, height: int) -> list[str]:
    """The whole view: at most `height` lines of at most `width` cells, the summary first."""
    lines = _wrapped([title, *parts], width)
    room = height - len(lines) - 1  # one for the names of the columns
    if room > 0 and record.trials:
        hides = len(record.trials) > room
        shown = list(islice(_in_order(sweep, record), room - hides))
        lines += _table(_columns(sweep, record), shown, width)
        if hides:
            running = len(record.running) - sum(trial.state == "running" for trial in shown)
            lines.append(_said(len(record.trials) - len(shown), running))
    return [_cut(line, width) for line in lines[:height]]


def _wrapped(parts: Sequence[str], width: int) -> list[str]:
    """The parts in lines, broken between parts alone."""
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]} · {part}" if lines[-1] else part
        if lines[-1] and cell_len(longer) > width:
            lines.append(part)
        else:
            lines[-1] = longer
    return lines


def _in_order(sweep: Sweep, record: SweepRecord) -> Iterator[TrialRecord]:
    """Running trials, the best first, then the others that have a value, then those without."""
    ranking = record.ranking(order_of(sweep))
    yield from sorted(record.running.values(), key=ranking.place)
    yield from (trial for trial in ranking if trial.state != "running")
    yield from (trial for trial in record.trials.values() if trial.state != "running" and trial not in ranking)


def _said(hidden: int, running: int) -> str:
    return f"… {hidden} more" + (f", {running} of them running" if running else "")


def _columns(sweep: Sweep, record: SweepRecord) -> list[Column]:
    """Of a trial, and of each hparam that varies among the trials."""
    stop, order = sweep.stop, order_of(sweep)

    def value(trial: TrialRecord) -> str:
        best = trial.value(stop.metric, stop.mode)
        return "–" if best is None else f"{best:.4f}"

    def last(trial: TrialRecord) -> str:
        return str(trial.num_epochs)

    columns: list[Column] = [
        (
            "trial",
            lambda trial: trial.name if trial.repeat_of is None else f"{trial.name} as {trial_name(trial.repeat_of)}",
        ),
        ("state", lambda trial: trial.state),
        ("epochs", last),
        (stop.metric.removeprefix("val_"), value),
        *((name.removeprefix("val_"), _objective(order, name)) for name in order.names[1:]),
    ]
    if order.objectives:
        ranking = record.ranking(order)
        columns.insert(2, ("front", lambda trial: "–" if (rank := ranking.rank(trial)) is None else str(rank)))
    return [*columns, *((name, _hparam(name)) for name in record.derived(Varying).names())]


def _objective(order: Order, name: str) -> Callable[[TrialRecord], str]:
    index = order.names.index(name)
    return lambda trial: "–" if (values := order.values(trial)) is None else f"{values[index]:.4g}"


def _hparam(name: str) -> Callable[[TrialRecord], str]:
    return lambda trial: _text(params[name]) if name in (params := trial.now.params) else "–"


def _text(value: Any) -> str:
    text = short(value)
    return text if cell_len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


class Varying:
    """The parameters that are not the same in all trials (kept level with a record: results/record/ranking/derived.py)."""

    def __init__(self) -> None:
        self._values: dict[str, set[str]] = {}  # two different ones of each parameter are enough
        self._seen: set[int] = set()

    def see(self, trial: TrialRecord) -> None:
        if trial.number in self._seen:
            return
        for name in trial.params:
            self._values.setdefault(name, {repr(None)} if self._seen else set())
        for name, values in self._values.items():
            if len(values) < 2:
                values.add(repr(trial.params.get(name)))
        self._seen.add(trial.number)

    def names(self) -> list[str]:
        """As they were first drawn; of one trial all."""
        return [name for name, values in self._values.items() if len(values) > 1 or len(self._seen) < 2]


def _table(columns: Sequence[Column], trials: Sequence[TrialRecord], width: int) -> list[str]:
    """As many columns as fit, each as wide as what it holds; what does not fit is counted beside the names."""
    cells = [[name, *(read(trial) for trial in trials)] for name, read in columns]
    widths = [max(map(cell_len, column)) for column in cells]
    used, fitting = -len(GAP), 0
    for index, needed in enumerate(widths):
        left = len(columns) - index - 1
        tail = len(_more(left))
        if used + len(GAP) + needed + tail > width:
            break
        used, fitting = used + len(GAP) + needed, index + 1
    rows = zip(*cells[:fitting], strict=True)
    lines = [GAP.join(_padded(*cell) for cell in zip(row, widths, range(fitting), strict=False)) for row in rows]
    return [
        f"{line}{_more(len(columns) - fitting) if number == 0 else ''}".rstrip() for number, line in enumerate(lines)
    ]


def _more(number: int) -> str:
    return f"{GAP}+{number}" if number else ""


def _padded(text: str, width: int, column: int) -> str:
    """The trial and its state stand left, numbers right."""
    space = " " * (width - cell_len(text))
    return text + space if column < 2 else space + text


def _cut(line: str, width: int) -> str:
    return line if cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…"
