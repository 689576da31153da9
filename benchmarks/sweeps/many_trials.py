"""A sweep of 5,000 trials: what the driver's memory, a suggestion and a report cost as the trials become many.

    .venv/bin/python benchmarks/sweeps/many_trials.py --plot docs/images/many-trials.png          # the search alone, a minute or two each
    .venv/bin/python benchmarks/sweeps/many_trials.py --ray --plot docs/images/many-trials.png    # and through Ray Tune, with `curve`

The search alone: the real Search, Journal and live view in one process, 16 trials at a time in turns, reports of three
epochs each that are drawn from `curve`, ASHA on. Through Ray Tune: `launch` of the same sweep, whose epochs take no
time, recorded nowhere but in the journal. Each variant runs in a process of its own.
"""

# Parts of matplotlib have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SWEEP = """
name: many
trainable: curve
search: {{sampler: {sampler}, num_trials: {trials}, seed: 1}}
stop: {{grace_epochs: 3, max_epochs: 27, reduction: 3, report_s: 0}}
"""
VARIANTS = ("tpe", "random", "ray")
LABELS = {"tpe": "the search alone, TPE", "random": "the search alone, random", "ray": "through Ray Tune, TPE"}
AT_ONCE, EPOCHS, WINDOW = 16, 3, 500
WORKER = {"host": "node-1", "pid": 1234, "cpu_percent": 97.5, "rss_bytes": 312_000_000}


class Watched:
    """Takes down what each call of a Search took; `rows`: [trial, RSS bytes, CPU seconds of its suggestion, of a report]."""

    def __init__(self, kind: Any):
        self.rows: list[list[float]] = []
        self._suggested: dict[int, float] = {}
        self._reported: dict[int, list[float]] = {}
        self._process = psutil.Process()
        self._next, self._report = kind.next, kind.report

        def suggest(search: Any, wait: bool = True) -> Any:
            return self.next(search, wait)

        def report(search: Any, number: int, *arguments: Any) -> bool:
            return self.report(search, number, *arguments)

        kind.next, kind.report = suggest, report

    def next(self, search: Any, wait: bool) -> Any:
        start = time.thread_time()
        assignment = self._next(search, wait)
        if assignment is not None:
            self._suggested[assignment.trial] = time.thread_time() - start
        return assignment

    def report(self, search: Any, number: int, *arguments: Any) -> bool:
        start = time.thread_time()
        ended = self._report(search, number, *arguments)
        took = self._reported.setdefault(number, [])
        took.append(time.thread_time() - start)
        if ended:
            rss = self._process.memory_info().rss
            suggested = self._suggested.pop(number)
            self.rows.append([number, rss, suggested, statistics.median(self._reported.pop(number))])
        return ended


def alone(sampler: str, trials: int, scratch: Path) -> dict[str, Any]:
    """The search without Ray."""
    import numpy as np
    import yaml

    from fersweep.cluster.driver import live_view
    from fersweep.cluster.search.decisions import Search
    from fersweep.results.record.journal import Journal
    from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
    from fersweep.trainables.curve import Curve, Hparams

    sweep = parse_sweep(yaml.safe_load(SWEEP.format(sampler=sampler, trials=trials)), "many_trials.py")
    watched = Watched(Search)
    search = Search(sweep, Journal(scratch / "journal.jsonl"))
    curves: dict[int, Curve] = {}
    frames: list[list[float]] = []
    means = np.zeros((3, 1), np.float32)
    while True:
        while len(curves) < AT_ONCE and (assignment := search.next()) is not None:
            curves[assignment.trial] = Curve(Hparams(**assignment.hparams), means, {"seed": assignment.trial})
        if not curves:
            break
        for number, curve in list(curves.items()):
            rows = curve.fit(EPOCHS)
            status = "finished" if curve.epoch >= sweep.stop.max_epochs else "running"
            if search.report(number, rows, status, None, WORKER):
                del curves[number]
                if len(watched.rows) % 20 == 0:
                    start = time.thread_time()
                    parts = live_view.summary(sweep, search.record, 60.0, 10, 100, None)
                    live_view.frame("many", parts, sweep, search.record, 120, 40)
                    frames.append([len(watched.rows), time.thread_time() - start])
    search.journal.close()
    gc.collect()
    return {"rows": watched.rows, "frames": frames, "epochs": search.record.num_epochs}


def ray(trials: int, scratch: Path) -> dict[str, Any]:
    """The same through Ray Tune on this machine."""
    from fersweep.cluster import launch
    from fersweep.cluster.search.decisions import Search
    from fersweep.results.record.journal import read_events
    from fersweep.results.tracking import recorder
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
    from tests.datasets import write_tiny_dataset

    recorder.start_recorder = lambda sweep_dir: subprocess.Popen(["true"])  # type: ignore[assignment]
    watched = Watched(Search)
    (scratch / "many.yaml").write_text(SWEEP.format(sampler="tpe", trials=trials))
    outcome = launch.launch(
        read_sweep(str(scratch / "many.yaml"), []), write_tiny_dataset(scratch / "tiny"), scratch / "home", "local"
    )
    events = list(read_events(outcome.directory / "journal.jsonl"))
    times = [event["time"] for event in events if event["event"] == "report"]
    parts = [times[len(times) * k // 10 : len(times) * (k + 1) // 10] for k in range(10)]
    rates = [len(part) / (part[-1] - part[0]) for part in parts]
    print(f"reports a second, tenth by tenth: {', '.join(f'{rate:.0f}' for rate in rates)}", file=sys.stderr)
    return {"rows": watched.rows, "frames": [], "rates": rates, "epochs": len(times)}


def ratios(name: str, found: dict[str, Any]) -> list[str]:
    """A row of the table: the median of the first and of the last trials, and what the last is of the first."""
    first, last = found["rows"][:WINDOW], found["rows"][-WINDOW:]
    cells = [LABELS[name], str(len(found["rows"]))]
    for column, unit, digits in ((1, 1e-6, 0), (2, 1e3, 1), (3, 1e3, 2)):
        before, after = (statistics.median(row[column] for row in rows) * unit for rows in (first, last))
        cells.append(f"{before:.{digits}f} → {after:.{digits}f}, {after / before:.2f}×")
    frames = [took for _, took in found["frames"]]
    cells.append(f"{frames[0] * 1e3:.1f} → {frames[-1] * 1e3:.1f}" if frames else "–")
    return cells


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Three panels over the number of the trial: medians of 50 trials."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    panels = [
        (1, 1e-6, "memory of the driver, MB"),
        (2, 1e3, "a suggestion, ms of CPU"),
        (3, 1e3, "a report, ms of CPU"),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), constrained_layout=True)
    for axis, (column, unit, label) in zip(axes, panels, strict=True):
        for name, found in results.items():
            groups = [found["rows"][start : start + 50] for start in range(0, len(found["rows"]), 50)]
            x = [statistics.median(row[0] for row in rows) for rows in groups]
            y = [statistics.median(row[column] for row in rows) * unit for rows in groups]
            axis.plot(x, y, label=LABELS[name], linewidth=1.3)
        axis.set(xlabel="trial", title=label, ylim=(0, None), xlim=(0, None))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--ray", action="store_true", help="also through Ray Tune, which takes ten minutes")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            found = (
                ray(options.trials, place)
                if options.variant == "ray"
                else alone(options.variant, options.trials, place)
            )
        print(json.dumps(found))
        return
    results: dict[str, dict[str, Any]] = {}
    for name in VARIANTS if options.ray else VARIANTS[:2]:
        command = [sys.executable, __file__, "--variant", name, "--trials", str(options.trials)]
        start = time.perf_counter()
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results[name] = json.loads(finished.stdout.strip().splitlines()[-1])
        print(f"{LABELS[name]}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(
        "| | trials | memory, MB | a suggestion, ms | a report, ms | a frame of the live view, ms |\n|---|---|---|---|---|---|"
    )
    for name, found in results.items():
        print(f"| {' | '.join(ratios(name, found))} |")
    if options.plot:
        draw(results, options.plot)


if __name__ == "__main__":
    main()
