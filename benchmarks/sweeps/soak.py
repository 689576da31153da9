"""A long sweep whose driver is killed (SIGKILL) again and again: is anything lost or done twice?

    .venv/bin/python benchmarks/sweeps/soak.py                                  # 300 trials of `curve`, 100 kills
    .venv/bin/python benchmarks/sweeps/soak.py --real runs/data/fer2013         # 8 LSTMs, 3 kills, beside the same sweep without kills

The driver is killed after a random number of events, every fifth time a random time after its start; every fourth time its
recorder is killed too. The checks are those of tests/cluster/test_crash.py. With --real one trial runs at a time, so that
both sweeps must have the same numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from fersweep.results.record import journal  # noqa: E402
from tests.cluster.test_crash import check_journal, results  # noqa: E402
from tests.datasets import write_tiny_dataset  # noqa: E402
from tests.processes import below, kill, num_lines, run, start, wait_until, write_curve  # noqa: E402
from tests.recorded import check_all_recorded  # noqa: E402

LSTM = """
trainable: blendshape_lstm
task: {{classes: {{happy: [happy], sad: [sad], neutral: [neutral]}}}}
space: {{fix: {{layout: features, num_layers: 1, use_early_stopping: false, dropout: 0.2}}, range: {{units_0: [8, 32]}}}}
search: {{num_trials: 8, seed: 5}}
stop: {{grace_epochs: 2, max_epochs: 18, reduction: 2, report_s: 0}}
resources: {{cpus: {cpus}}}
"""


def soak(scratch: Path, num_trials: int, num_kills: int, seed: int) -> str:
    home, rng = scratch / "runs", np.random.default_rng(seed)
    path = home / "sweeps" / "soak" / "journal.jsonl"
    sweep = write_curve(scratch / "soak.yaml", trials=num_trials)
    launch = ("launch", sweep, "--data", write_tiny_dataset(scratch / "tiny"))
    pace = num_trials * 10 // num_kills  # events between two kills: a trial of `curve` makes about 16
    begun, kills, ended_again = time.monotonic(), 0, 0
    while kills < num_kills:
        before = path.read_bytes() if path.exists() else b""
        ended = {n for n, t in journal.read(path).trials.items() if t.state != "running"}
        process = start(*(launch if not path.parent.exists() else ("resume", "soak")), home=home)
        if kills % 5 == 4:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=float(rng.uniform(0.5, 6)))
        else:
            target = num_lines(path) + 2 + int(rng.integers(2 * pace))
            wait_until(lambda target=target: num_lines(path) >= target, process)
        if kills % 4 == 3:
            for pid in below(process.pid, "fersweep.results.tracking.recorder_process"):
                os.kill(pid, signal.SIGKILL)
        kill(process)
        kills += 1
        assert path.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
        new = path.read_bytes()[before.rfind(b"\n") + 1 :].splitlines()
        ended_again += sum(f'"trial": {number},'.encode() in line for line in new for number in ended)
        print(f"{kills} kills, {len(ended)} trials had ended, {time.monotonic() - begun:.0f} s", file=sys.stderr)
    run("resume", "soak", home=home, timeout_s=1200)
    record = check_journal(path, num_trials)
    runs = check_all_recorded(path.parent)
    epochs = record.num_epochs
    return (
        f"| {num_trials} trials, {epochs} epochs | {kills} | {record.sessions} | {ended_again} | 0 | "
        f"{len(runs) - 1 - num_trials} | {time.monotonic() - begun:.0f} s |"
    )


def real(scratch: Path, data: Path) -> str:
    """An LSTM sweep on a real dataset, without kills and with its driver killed three times."""
    home, rng = scratch / "runs", np.random.default_rng(1)
    (scratch / "lstm.yaml").write_text(LSTM.format(cpus=os.cpu_count()))
    options = (scratch / "lstm.yaml", "--data", data.resolve())
    run("launch", *options, "--name", "whole", home=home, timeout_s=1200)
    whole = home / "sweeps" / "whole" / "journal.jsonl"
    path = home / "sweeps" / "broken" / "journal.jsonl"
    for lines in sorted(rng.integers(3, num_lines(whole) - 3, 3).tolist()):
        verb = ("launch", *options, "--name", "broken") if not path.exists() else ("resume", "broken")
        process = start(*verb, home=home)
        wait_until(lambda lines=lines: num_lines(path) >= lines, process)
        kill(process)
        print(f"killed at event {lines}", file=sys.stderr)
    run("resume", "broken", home=home, timeout_s=1200)
    same = results(path) == results(whole)
    epochs = sum(len(rows) for *_, rows in results(whole))
    return f"| {len(results(whole))} LSTMs, {epochs} epochs | 3 | every metric of every epoch equal: {same} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, help="a dataset")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.real:
            print("| sweep | kills | result |\n|---|---|---|")
            print(real(Path(scratch), options.real))
            return
        row = soak(Path(scratch), options.trials, options.kills, options.seed)
    print(
        "| sweep | kills | drivers | ended trials touched again | epochs missing or twice | double MLflow runs | took |"
    )
    print("|---|---|---|---|---|---|---|")
    print(row)


if __name__ == "__main__":
    main()
