"""What a person sees while a sweep runs: a live table on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from ray.tune import Callback
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from fersweep.cluster.driver.checkpoint_pruning import Pruner
from fersweep.cluster.driver.stopping import Stopping
from fersweep.cluster.search.decisions import Search
from fersweep.common.display.tables import clock, short

REFRESH_S = 0.5
LINE_S = 10.0


class Stopped(Exception):
    """Ends Tune's loop: a stop was requested, and is due."""


class Progress(Callback):
    """A Tune callback that draws the state of a search on stderr. After each of Tune's steps it also deletes the
    checkpoints of trials that have ended, and ends the loop when a stop is due. Use as a context manager.
    """

    def __init__(self, search: Search, stopping: Stopping, pruner: Pruner, baseline: float | None):
        self._search, self._stopping, self._pruner, self._baseline = search, stopping, pruner, baseline
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._start, self._drawn = time.time(), 0.0
        self._epochs_before = search.record.num_epochs
        self._ended_before = self._pruned = search.record.num_ended

    def say(self, message: str) -> None:
        """Print a message once, above what is drawn."""
        if self._live:
            self._console.print(message, markup=False, highlight=False)
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

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.time() - self._drawn >= (REFRESH_S if self._live else LINE_S):
            self._draw()
        if self._search.record.num_ended != self._pruned:
            self._pruned = self._search.record.num_ended
            self._pruner.prune()
        if self._stopping.due(len(self._search.active)):
            raise Stopped

    def _draw(self) -> None:
        self._drawn = time.time()
        if self._live:
            self._live.update(Group(self._table(), self.line()), refresh=True)
        else:
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """One line: trials by state, best so far, speed, time left."""
        search, stop = self._search, self._search.sweep.stop
        counts, seconds = search.record.count(), max(time.time() - self._start, 1e-9)
        epochs, ended = search.record.num_epochs, search.record.num_ended
        ended_here, remaining = ended - self._ended_before, search.sweep.search.num_trials - ended
        eta = clock(seconds / ended_here * remaining) if ended_here else "?"
        ranked = search.record.ranked(stop.metric, stop.mode)
        best = f"{ranked[0].value(stop.metric, stop.mode):.4f} (trial {ranked[0].name})" if ranked else "none yet"
        baseline = "" if self._baseline is None else f"baseline {self._baseline:.4f}; "
        states = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        return (
            f"{ended}/{search.sweep.search.num_trials} trials: {states or 'starting'}; best {stop.metric} {best}, "
            f"{baseline}{epochs} epochs, {(epochs - self._epochs_before) / seconds:.1f}/s; "
            f"{clock(seconds)} gone, {eta} to go"
        )

    def _table(self) -> Table:
        search, stop = self._search, self._search.sweep.stop
        table = Table(title=f"sweep {search.sweep.name}: {search.sweep.trainable}", title_justify="left")
        for column in ("trial", "state", "epochs", stop.metric, "at epoch", "hparams"):
            table.add_column(
                column, justify="left" if column in ("state", "hparams") else "right", no_wrap=column != "hparams"
            )
        running = [t for t in search.record.trials.values() if t.state == "running"]
        best = [t for t in search.record.ranked(stop.metric, stop.mode)[:5] if t not in running]
        for trial in [*best, *running[:8]]:
            row = trial.best(stop.metric, stop.mode)
            params = ", ".join(f"{name}={short(value)}" for name, value in trial.params.items())
            value, epoch = ("", "") if row is None else (f"{row[stop.metric]:.4f}", str(int(row["epoch"])))
            table.add_row(trial.name, trial.state, str(trial.num_epochs), value, epoch, params[:160])
        return table
