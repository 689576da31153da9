"""What a suggestion costs as trials become many, for each sampler: our own time, the sampler's, and the driver's memory.

    .venv/bin/python benchmarks/sweeps/suggestions.py --plot docs/images/suggestions.png

The real Search and Journal in one process for each sampler, 5,000 trials of `curve`, 16 at a time in turns, reports of
three epochs each, ASHA on; all times are CPU time of the thread. Our own is what a suggestion takes without what passes
in the sampler's own code (its making and its methods): the journal as a study, the space, the checks of hparams. `gp`
takes seconds: there the trials are random ones, and it is asked for one more at every 250th.
"""

# Parts of matplotlib and optuna have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
AT_ONCE, EPOCHS, WINDOW, EACH = 16, 3, 200, 250
SPARSE = ("gp",)
NAMES = ("tpe", "random", "gp", "cmaes", "qmc", "nsga2", "nsga3", "grid", "brute_force")


class Timed:
    """Takes the place of a sampler, and adds up the seconds that pass in it."""

    inside_s = 0.0

    def __init__(self, sampler: optuna.samplers.BaseSampler):
        self._sampler = sampler

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._sampler, name)
        return timed(method) if callable(method) else method


def timed(method: Any) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        start = time.thread_time()
        try:
            return method(*arguments, **named)
        finally:
            Timed.inside_s += time.thread_time() - start

    return call


def stepped(trial: Any) -> dict[str, Any]:
    """The space of `curve` in steps, 5,200 points: brute_force searches no other."""
    return {
        "top": trial.suggest_float("top", 0.2, 0.95, step=0.03),
        "rate": 0.01 * 1.2 ** trial.suggest_int("rate", 0, 19),
        "noise": trial.suggest_float("noise", 0.0, 0.045, step=0.005),
    }


def run(name: str, trials: int, scratch: Path) -> list[list[float]]:
    """Rows: [trial, our own seconds, the sampler's, RSS bytes]."""
    from fersweep.cluster.samplers import registry
    from fersweep.cluster.samplers.sampler import Sampler
    from fersweep.cluster.search.decisions import Search
    from fersweep.results.record.journal import Journal
    from fersweep.search_spaces import curve as space
    from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
    from fersweep.trainables.curve import Curve, Hparams

    if name == "brute_force":
        space.space = stepped
    for key, row in registry.SAMPLERS.items():

        def make(asked: Any, make: Any = row.make) -> Any:
            return Timed(timed(make)(asked))

        registry.SAMPLERS[key] = dataclasses.replace(row, make=make)
    drawn = "random" if name in SPARSE else name
    options = {"points": {"top": 25, "rate": 20, "noise": 10}} if name == "grid" else {}
    stop = {"grace_epochs": 3, "max_epochs": 9, "reduction": 3, "report_s": 0}
    content: dict[str, Any] = {
        "name": "many",
        "trainable": "curve",
        "search": {"sampler": drawn, "sampler_options": options, "num_trials": trials, "seed": 1},
        "stop": stop,
    }
    sweep = parse_sweep(content, "suggestions.py")
    sparse = Sampler(parse_sweep({**content, "search": {**content["search"], "sampler": name}}, "suggestions.py"))
    search, process, rows = Search(sweep, Journal(scratch / "journal.jsonl")), psutil.Process(), list[list[float]]()
    begin = Sampler.begin

    def begin_timed(sampler: Any, record: Any, number: int) -> Any:
        start, Timed.inside_s = time.thread_time(), 0.0
        finish = begin(sampler, record, number)
        before = time.thread_time() - start

        def finish_timed() -> Any:
            start = time.thread_time()
            suggestion = finish()
            total = before + time.thread_time() - start
            if sampler.sweep.search.sampler == name:
                rows.append([number, total - Timed.inside_s, Timed.inside_s, process.memory_info().rss])
            return suggestion

        return finish_timed

    Sampler.begin = begin_timed  # type: ignore[method-assign]
    os.fsync = lambda _: None  # type: ignore[assignment]  # a disk's time is none of the CPU's
    curves: dict[int, Curve] = {}
    while True:
        while len(curves) < AT_ONCE and (assignment := search.next()) is not None:
            curves[assignment.trial] = Curve(
                Hparams(**assignment.hparams), np.zeros((3, 1)), {"seed": assignment.trial}
            )
            if name in SPARSE and assignment.trial % EACH == EACH - 1:
                sparse.suggest(search.record, assignment.trial + 1)
        if not curves:
            return rows
        for number, curve in list(curves.items()):
            trained = curve.fit(EPOCHS)
            if search.report(number, trained, "finished" if curve.epoch >= 9 else "running"):
                del curves[number]


def table(results: dict[str, list[list[float]]]) -> str:
    lines = ["| sampler | trials | our own, ms | the sampler's, ms | memory, MB |", "|---|---|---|---|---|"]
    for name, rows in results.items():
        width = 2 if name in SPARSE else WINDOW
        cells = [name, f"{rows[-1][0] + 1:.0f}"]
        for column, unit, digits in ((1, 1e3, 1), (2, 1e3, 1), (3, 1e-6, 0)):
            first, last = (
                statistics.median(row[column] for row in part) * unit for part in (rows[:width], rows[-width:])
            )
            cells.append(f"{first:.{digits}f} → {last:.{digits}f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(results: dict[str, list[list[float]]], path: Path) -> None:
    """Three panels over the number of the trial: medians of 50 suggestions."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    panels = [
        (1, 1e3, "our own, ms of CPU"),
        (2, 1e3, "the sampler's, ms of CPU"),
        (3, 1e-6, "memory of the driver, MB"),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), constrained_layout=True)
    for axis, (column, unit, label) in zip(axes, panels, strict=True):
        for index, (name, rows) in enumerate(results.items()):
            width = 1 if name in SPARSE else 50
            groups = [rows[start : start + width] for start in range(0, len(rows), width)]
            x = [statistics.median(row[0] for row in part) for part in groups]
            y = [statistics.median(row[column] for row in part) * unit for part in groups]
            axis.plot(x, y, label=name, linewidth=1.3, color=f"C{index}", linestyle="--" if index > 6 else "-")
        axis.set(xlabel="trial", title=label, xlim=(0, None))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].axhline(20, color="gray", linewidth=0.8, linestyle=":")
    axes[0].set_ylim(0, None)
    axes[1].set_yscale("log")
    axes[0].legend(frameon=False, fontsize=7, ncols=2)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--samplers", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--keep", type=Path, help="directory of each sampler's rows, which are not measured again")
    parser.add_argument("--variant", choices=NAMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(run(options.variant, options.trials, Path(scratch))))
        return
    results: dict[str, list[list[float]]] = {}
    for name in options.samplers:
        kept = options.keep / f"{name}.json" if options.keep else None
        if kept is None or not kept.exists():
            command = [sys.executable, __file__, "--variant", name, "--trials", str(options.trials)]
            finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            if kept is None:
                results[name] = json.loads(finished.stdout.strip().splitlines()[-1])
                continue
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(finished.stdout.strip().splitlines()[-1])
        results[name] = json.loads(kept.read_text())
    print(table(results))
    if options.plot:
        draw(results, options.plot)


if __name__ == "__main__":
    main()
