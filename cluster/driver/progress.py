"""What a person sees while a sweep runs: a live view on a terminal and in a notebook, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.live import Live
from rich.text import Text

from fersweep.cluster import capacity
from fersweep.cluster.driver import live_view
from fersweep.cluster.driver.checkpoint_pruning import Pruner
from fersweep.cluster.driver.stopping import Stopping
from fersweep.cluster.search.decisions import Search
from fersweep.common.display import notebook

REFRESH_S, CELL_S = 0.5, 1.0
CELL = 120, 24  # width and height of the view in a notebook
LINE_S, MAX_LINE_S = 10.0, 300.0  # between two lines, where there is no terminal: the longer a sweep, the rarer
PLACE_S = 4.0  # without a place for any trial, until that is said


class Stopped(Exception):
    """Ends Tune's loop: a stop was requested, and is due."""


class Progress(Callback):
    """A Tune callback that draws the state of a search on stderr. After each of Tune's steps it also deletes the
    checkpoints of trials that have ended, and ends the loop when a stop is due. Use as a context manager.
    """

    def __init__(self, search: Search, stopping: Stopping, pruner: Pruner, baseline: float | None):
        self._search, self._stopping, self._pruner, self._baseline = search, stopping, pruner, baseline
        self._console = Console(stderr=True, highlight=False)
        terminal = sys.stderr.isatty() and self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False) if terminal else None
        self._cell = notebook.cell()
        self._size, self._said = self._console.size, list[str]()
        self._start, self._drawn = time.monotonic(), -math.inf
        self._waited = self._say_at = -math.inf  # when no trial had a place, and from when on that is said
        self._epochs_before = search.record.num_epochs
        self._ended_before = search.record.num_ended
        self._pruned = self._prunable()

    def say(self, message: str) -> None:
        """Print a message once, above what is drawn."""
        if self._live:
            self._said.append(message)
            self._console.print(message, markup=False)
        else:
            print(message, file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._draw()
        if self._live:
            self._live.stop()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if iteration == 0:
            self._stopping.take_signals()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self._drawn >= self._pause_s():
            self._draw()
        if (prunable := self._prunable()) != self._pruned:
            self._pruned = prunable
            self._pruner.prune()
        if self._stopping.due(len(self._search.active)):
            raise Stopped

    def _prunable(self) -> tuple[int, int]:
        """What changes when there are checkpoints that nobody needs any more."""
        return self._search.record.num_ended, len(self._search.needed_rungs())

    def waits_for_a_place(self) -> None:
        """Called about once a second while no trial runs, because the cluster has no place for one."""
        now = time.monotonic()
        if now - self._waited > LINE_S:  # it begins to wait
            self._say_at = now + PLACE_S
        self._waited = now
        if now >= self._say_at:
            self._say_at = now + MAX_LINE_S
            self.say(capacity.shortage(self._search.sweep.resources))
        if now - self._drawn >= self._pause_s():
            self._draw()

    def _pause_s(self) -> float:
        if self._live or self._cell:
            return REFRESH_S if self._live else CELL_S
        return min(max(LINE_S, (time.monotonic() - self._start) / 20), MAX_LINE_S)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self._live:
            self._live.update(Text("\n".join(self._frame()), no_wrap=True), refresh=True)
        elif self._cell:
            sweep = self._search.sweep
            self._cell("\n".join(live_view.frame(sweep.name, self._summary(), sweep, self._search.record, *CELL)))
        else:
            print("; ".join(self._summary()), file=sys.stderr, flush=True)

    def _summary(self) -> list[str]:
        search, seconds = self._search, time.monotonic() - self._start
        ended_here = search.record.num_ended - self._ended_before
        epochs_here = search.record.num_epochs - self._epochs_before
        return live_view.summary(
            search.sweep, search.record, seconds, ended_here, epochs_here, self._baseline, self._stopping.asked
        )

    def _frame(self) -> list[str]:
        """The lines to draw. Where the terminal has another size now, what it shows is broken: it is drawn anew."""
        size, sweep = self._console.size, self._search.sweep
        height = size.height - 1  # the line of the shell
        lines = live_view.frame(sweep.name, self._summary(), sweep, self._search.record, size.width, height)
        if size != self._size:
            self._size = size
            self._console.clear()
            room = max(height - len(lines), 0)
            for message in self._said[len(self._said) - min(room, len(self._said)) :]:
                self._console.print(message, markup=False)
        return lines
