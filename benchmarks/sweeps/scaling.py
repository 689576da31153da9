"""How a sweep scales: trial-epochs a second with 1 to 16 workers, of `curve`, whose epochs sleep.

    .venv/bin/python benchmarks/sweeps/scaling.py --plot docs/images/scaling.png

Each number of workers is a `launch` on a Ray of its own with as many logical CPUs. Since epochs sleep, more workers than
cores are no fraud: what is measured is what Ray, the driver and the workers themselves take. Efficiency is
(epochs a second of n workers) / (n × that of one). Without start-up: while all n workers were at work, from the moment when
each of them had reported until the last trial was handed out. With start-up: the whole command.
"""

# Parts of matplotlib have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SWEEP = """
name: scaling
trainable: curve
space: {{fix: {{epoch_s: {epoch_s}}}}}
search: {{num_trials: {trials}, seed: 1}}
stop: {{scheduler: none, max_epochs: {epochs}, report_s: 0}}
"""
WORKERS = (1, 2, 4, 8, 16)
EPOCHS = 40  # a trial, one a report: longer than a worker takes to start


def measure(workers: int, trials: int, epoch_s: float, scratch: Path) -> dict[str, float]:
    """One sweep: epochs a second without and with start-up, and the median memory of a worker, bytes."""
    from fersweep.results.record.journal import read_events
    from tests.datasets import write_tiny_dataset

    home = scratch / f"home-{workers}"
    asked, data = scratch / "scaling.yaml", write_tiny_dataset(scratch / f"tiny-{workers}")
    asked.write_text(SWEEP.format(epoch_s=epoch_s, trials=trials, epochs=EPOCHS))
    start = time.time()
    command = [sys.executable, __file__, "--launch", str(workers), str(asked), str(data), str(home)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    events = list(read_events(home / "sweeps" / "scaling" / "journal.jsonl"))
    reports = [event for event in events if event["event"] == "report"]
    first: dict[int, float] = {}
    for event in reports:
        first.setdefault(event["worker"]["pid"], event["time"])
    if len(first) != workers:
        print(f"{len(first)} of {workers} workers reported", file=sys.stderr)
    begin, end = max(first.values()), max(event["time"] for event in events if event["event"] == "sampled")
    within = [event for event in reports if begin < event["time"] <= end]
    assert end - begin > 10 * epoch_s, "too few trials for a window"
    return {
        "busy": sum(len(event["epochs"]) for event in within) / (end - begin),
        "all": trials * EPOCHS / (reports[-1]["time"] - start),
        "rss": statistics.median(event["worker"]["rss_bytes"] for event in reports),
    }


def launch(workers: str, asked: str, data: str, home: str) -> None:
    """What `fersweep launch` does, on a Ray with as many CPUs."""
    from fersweep.cluster.launch import launch
    from fersweep.common.ray_connection import connect
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep

    connect("local", num_cpus=int(workers))
    launch(read_sweep(asked, []), Path(data), Path(home))


def draw(found: dict[int, dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(4.6, 3.6), constrained_layout=True)
    workers, one = list(found), found[min(found)]["busy"]
    axis.plot(workers, [n * one for n in workers], color="0.6", linestyle="--", label="ideal")
    axis.plot(workers, [found[n]["busy"] for n in workers], marker="o", label="while all are at work")
    axis.plot(workers, [found[n]["all"] for n in workers], marker="o", label="with start-up")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    axis.set_xticks(workers, [str(n) for n in workers])
    axis.set(xlabel="workers", ylabel="trial-epochs a second")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--trials", type=int, default=3, help="for each worker")
    parser.add_argument("--epoch-s", type=float, default=1.0)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--launch", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.launch:
        launch(*options.launch)
        return
    found: dict[int, dict[str, float]] = {}
    for workers in options.workers:
        with tempfile.TemporaryDirectory() as scratch:
            found[workers] = measure(workers, workers * options.trials, options.epoch_s, Path(scratch))
        print(json.dumps({workers: found[workers]}), file=sys.stderr, flush=True)
    first = min(found)
    print(
        "| workers | epochs a second, all at work | efficiency | with start-up | efficiency | memory of a worker, MB |"
    )
    print("|---|---|---|---|---|---|")
    for workers, rates in found.items():
        cells = [str(workers)]
        for name in ("busy", "all"):
            efficiency = rates[name] / (workers / first * found[first][name])
            cells += [f"{rates[name]:.2f}", f"{efficiency:.2f}"]
        print(f"| {' | '.join(cells)} | {rates['rss'] / 1e6:.0f} |")
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
