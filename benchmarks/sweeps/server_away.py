"""Does a sweep slow down while MLflow's server is away? The same sweep with the server, and with it killed for a minute.

    .venv/bin/python benchmarks/sweeps/server_away.py

`curve`, 20 ms an epoch, one epoch a report. The server (`mlflow server`, SQLite) is killed with SIGKILL a few seconds
into the sweep and started again 60 s later on the same port. Compared are the reports a second from the first report to the last, and the
runs and epochs in MLflow at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from fersweep.results.record import journal  # noqa: E402
from tests.datasets import write_tiny_dataset  # noqa: E402
from tests.processes import num_lines, start, wait_until  # noqa: E402
from tests.recorded import check_all_recorded  # noqa: E402
from tests.servers import MlflowServer  # noqa: E402

SWEEP = """
trainable: curve
space: {{fix: {{noise: 0.02, epoch_s: 0.02}}}}
search: {{sampler: random, num_trials: {trials}, seed: 1}}
stop: {{scheduler: none, max_epochs: 50, report_s: 0}}
tracking: {{uri: "{uri}"}}
"""


def sweep(scratch: Path, name: str, trials: int, away_s: float) -> str:
    server, home = MlflowServer(scratch / f"server-{name}"), scratch / "runs"
    server.start()
    (scratch / f"{name}.yaml").write_text(SWEEP.format(trials=trials, uri=server.uri))
    path = home / "sweeps" / name / "journal.jsonl"
    process = start("launch", scratch / f"{name}.yaml", "--data", scratch / "tiny", home=home)
    if away_s:
        wait_until(lambda: num_lines(path) > 200, process)
        server.kill()
        time.sleep(away_s)
        assert process.poll() is None, "the sweep ended before the server was back: give it more --trials"
        server.start(wait=False)
    _, err = process.communicate(timeout=1800)
    assert process.returncode == 0, err
    times = [event["time"] for event in journal.read_events(path) if event["event"] == "report"]
    runs, record = check_all_recorded(path.parent), journal.read(path)
    server.kill()
    epochs = record.num_epochs
    rate = (len(times) - 1) / (times[-1] - times[0])
    lines = (path.parent / "recorder.log").read_text().strip().splitlines()
    print("\n".join(lines), file=sys.stderr)
    return f"| {away_s:.0f} s | {times[-1] - times[0]:.0f} s | {rate:.1f} | {len(runs) - 1} of {trials} | {epochs} of {epochs} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=160)
    parser.add_argument("--away-s", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_tiny_dataset(Path(scratch) / "tiny")
        rows = [
            sweep(Path(scratch), f"away-{index}", options.trials, away_s)
            for index, away_s in enumerate((0.0, options.away_s))
        ]
    print("| server away | reports took | reports a second | runs in MLflow | epochs in MLflow, each once |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
