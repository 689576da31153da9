"""A thousand trials of `blendshape_dense` as shipped, on one machine: how long, beside what its matrix products alone would take;
what a suggestion and the driver's memory come to; and how long `compare`, `report`, `status` and `ui` take on it.

    .venv/bin/python benchmarks/sweeps/thousand.py --data runs/data/fer2013 --plot docs/images/thousand-trials.png

`launch` from its start to its end, MLflow included; pictures in MLflow and the report come after it. Products: arithmetic.py.
"""

# Parts of PyTorch and matplotlib have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
EVERY_S = 1.0


def command(*arguments: str, home: Path) -> list[str]:
    return [sys.executable, "-m", "fersweep", *arguments, "--home", str(home)]


def watched(data: Path, home: Path, trials: int, more: list[str]) -> tuple[float, list[tuple[int, float]]]:
    """Launch it → (seconds, [(trials sampled, the driver's memory in MB)])."""
    launch = command("launch", "blendshape_dense", "--data", str(data), "--trials", str(trials), *more, home=home)
    journal = home / "sweeps" / "blendshape_dense" / "journal.jsonl"
    start, memory = time.perf_counter(), list[tuple[int, float]]()
    with subprocess.Popen(launch, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            time.sleep(EVERY_S)
            try:
                sampled = journal.read_bytes().count(b'"event": "sampled"')
                size = driver.memory_info().rss
                memory += [(sampled, size / 1e6)] if size else []
            except (OSError, psutil.Error):
                continue
    if process.returncode:
        sys.exit(f"launch ended with {process.returncode}")
    return time.perf_counter() - start, memory


def timed(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(arguments, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def ui_seconds(home: Path) -> float:
    """Until MLflow's page of the sweep's trials has answered."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.perf_counter()
    arguments = command("ui", "--port", str(port), home=home)
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            search = json.dumps({"experiment_ids": ["1"], "max_results": 1000}).encode()
            url = f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search"
            while True:
                request = urllib.request.Request(url, search, {"Content-Type": "application/json"})
                try:
                    runs = json.loads(urllib.request.urlopen(request, timeout=30).read()).get("runs", [])
                except OSError:
                    time.sleep(0.2)
                    continue
                print(f"ui: {len(runs)} runs in one answer", file=sys.stderr)
                return time.perf_counter() - start
        finally:
            process.terminate()


def draw(suggestions: list[float], memory: list[tuple[int, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), constrained_layout=True)
    groups = [suggestions[start : start + 20] for start in range(0, len(suggestions), 20)]
    left.plot([20 * k + 10 for k in range(len(groups))], [1000 * statistics.median(g) for g in groups], linewidth=1.3)
    left.set(title="a suggestion, ms", xlabel="trial", ylim=(0, None), xlim=(0, None))
    right.plot([sampled for sampled, _ in memory], [size for _, size in memory], linewidth=1.3)
    right.set(title="memory of the driver, MB", xlabel="trial", ylim=(0, None), xlim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--home", type=Path, help="kept; default: a temporary one")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--set", action="append", default=[], help="as of `launch`")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from benchmarks.sweeps.arithmetic import await_rest, dense_epoch, product_rate
    from fersweep.results.record.journal import read, read_events
    from fersweep.results.record.recorded_sweep import load_sweep

    with tempfile.TemporaryDirectory() as scratch:
        home = (options.home or Path(scratch)).resolve()
        more = [part for change in options.set for part in ("--set", change)]
        seconds, memory = watched(options.data.resolve(), home, options.trials, more)
        directory = home / "sweeps" / "blendshape_dense"
        record, sweep = read(directory / "journal.jsonl"), load_sweep(directory).sweep
        events = list(read_events(directory / "journal.jsonl"))
        suggestions = [event["suggest_s"] for event in events if "suggest_s" in event]
        by_class = sweep.num_by_class
        features, classes = len(sweep.feature_names), len(by_class["train"])
        num_train, num_val = (sum(by_class[split].values()) for split in ("train", "val"))
        count = sum(
            trial.num_epochs * dense_epoch([features, *trial.hparams["units"], classes], num_train, num_val)
            for trial in record.trials.values()
        )
        start = time.perf_counter()
        await_rest(directory)
        print(f"pictures and the report were there {time.perf_counter() - start:.0f} s later")
        rate = product_rate()
        states = ", ".join(f"{number} {state}" for state, number in record.count().items() if number)
        print(
            f"{len(record.trials)} trials ({states}), {record.num_epochs} epochs: {seconds:.0f} s, {record.num_epochs / seconds:.1f} epochs a second"
        )
        print(
            f"products: {count / 1e12:.1f} · 10^12 at {rate / 1e9:.0f} · 10^9 a second: {count / rate:.0f} s, {count / rate / seconds:.2f} of the time"
        )
        print(
            f"a suggestion: {1000 * statistics.median(suggestions[:100]):.1f} ms of the first hundred, {1000 * statistics.median(suggestions[-100:]):.1f} of the last"
        )
        print(f"memory of the driver: {memory[len(memory) // 10][1]:.0f} MB, at the end {memory[-1][1]:.0f}")
        for verb in ("compare", "status", "report"):
            print(f"{verb}: {timed(command(verb, 'blendshape_dense', home=home)):.1f} s")
        print(f"ui, until it has listed the trials: {ui_seconds(home):.1f} s")
        if options.plot:
            draw(suggestions, memory, options.plot)


if __name__ == "__main__":
    main()
