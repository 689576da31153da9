"""How far `prepare` is, drawn with Rich."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from fersweep.common.display import notebook

CELL_S = 0.5  # between two looks of a notebook's cell


@dataclass(frozen=True)
class Progress:
    """What `prepare` reports to its caller now and then."""

    phase: str  # "read" (by a reader of the user's own, where that takes long), "extract" (landmarks), "split", "augment", "write", or "finished" (was already: nothing to do)
    done: int  # faces
    total: int | None
    rate: float  # faces a second in this phase and session
    eta_s: float | None


OnProgress = Callable[[Progress], None]

TITLES = {
    "read": "read",
    "extract": "faces",
    "split": "splits and twins",
    "augment": "augmented copies",
    "write": "writing",
    "finished": "finished already",
}


@contextmanager
def bars(console: Console) -> Iterator[OnProgress]:
    """A callback for `prepare(progress=…)` that draws on `console` (stderr: stdout stays free for results), or in a
    notebook's cell.
    """
    if (show := notebook.cell()) is not None:
        yield _in_a_cell(show)
        return
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    display = Bars(*columns, console=console)
    tasks: dict[str, TaskID] = {}

    def draw(progress: Progress) -> None:
        display.start()  # only now: an error in the sources is one line, with nothing drawn around it
        if progress.phase not in tasks:
            tasks[progress.phase] = display.add_task(TITLES[progress.phase], total=None, rate="")
        display.update(
            tasks[progress.phase], completed=progress.done, total=progress.total, rate=_pace(progress), refresh=True
        )

    try:
        yield draw
    finally:
        if tasks:
            display.stop()


def _pace(progress: Progress) -> str:
    rate = f"{progress.rate:,.0f} faces/s" if progress.rate else ""
    left = f", {progress.eta_s:,.0f} s left" if progress.eta_s else ""
    return rate + left


def _in_a_cell(show: Callable[[str], None]) -> OnProgress:
    """A line for each phase."""
    lines: dict[str, str] = {}
    shown = 0.0

    def draw(progress: Progress) -> None:
        nonlocal shown
        total = "" if progress.total is None else f" of {progress.total:,}"
        is_new = progress.phase not in lines
        lines[progress.phase] = f"{TITLES[progress.phase]}: {progress.done:,}{total}  {_pace(progress)}".rstrip()
        if is_new or progress.done == progress.total or time.monotonic() - shown > CELL_S:
            shown = time.monotonic()
            show("\n".join(lines.values()))

    return draw
