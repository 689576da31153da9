"""The cost of recording in MLflow for the controller: reports a second with and without it, ours and Ray Tune's callback.

The trainable is the closed-form `curve`, one epoch a report, so that all the work is the controller's. The rate is from the first report to the last; each variant runs alone, in turn, several rounds; medians are compared.

    .venv/bin/python benchmarks/sweeps/recording.py
"""

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
trainable: curve
space: {fix: {noise: 0.02}}
search: {sampler: random, num_trials: %d, seed: 1}
stop: {scheduler: none, max_epochs: %d, report_s: 0}
"""


def ours(trials: int, epochs: int, record: bool) -> float:
    """Reports a second of a fersweep sweep, from its journal."""
    from fersweep.cluster import launch
    from fersweep.results.record.journal import read_events
    from fersweep.results.tracking import recorder
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
    from tests.datasets import write_tiny_dataset

    if not record:
        recorder.start_recorder = lambda sweep_dir: subprocess.Popen(["true"])  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        (home / "curve.yaml").write_text(SWEEP % (trials, epochs))
        data = write_tiny_dataset(home / "tiny")
        outcome = launch.launch(read_sweep(str(home / "curve.yaml"), []), data, home)
        times = [
            event["time"] for event in read_events(outcome.directory / "journal.jsonl") if event["event"] == "report"
        ]
    return (len(times) - 1) / (times[-1] - times[0])


def stock(trials: int, epochs: int, record: bool) -> float:
    """Reports a second of Ray Tune with actor reuse, with or without its MLflowLoggerCallback on SQLite."""
    import os

    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    class Curve(tune.Trainable):
        def setup(self, config: dict) -> None:
            self.epoch = 0

        def reset_config(self, new_config: dict) -> bool:
            self.epoch = 0
            return True

        def step(self) -> dict:
            self.epoch += 1
            score = self.config["top"] * (1 - 2.718 ** (-0.1 * self.epoch))
            names = ("train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1", "epoch_s")
            return {**dict.fromkeys(names, score), "done": self.epoch >= epochs}

        def save_checkpoint(self, checkpoint_dir: str) -> None: ...

        def load_checkpoint(self, checkpoint: object) -> None: ...

    class Clock(tune.Callback):
        times: list[float] = []  # noqa: RUF012

        def on_trial_result(self, iteration: int, trials: list, trial: object, result: dict, **info: object) -> None:
            self.times.append(time.time())

    with tempfile.TemporaryDirectory() as scratch:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        callback = MLflowLoggerCallback(tracking_uri=f"sqlite:///{scratch}/mlflow.db", experiment_name="stock")
        tune.run(
            Curve,
            config={"top": tune.uniform(0.2, 0.9)},
            num_samples=trials,
            resources_per_trial={"cpu": 1},
            reuse_actors=True,
            callbacks=[Clock(), *([callback] if record else [])],
            storage_path=scratch,
            verbose=0,
        )
        ray.shutdown()
    return (len(Clock.times) - 1) / (Clock.times[-1] - Clock.times[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=240, help="of fersweep; Ray Tune alone runs a twelfth")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        who, record = options.variant.split(",")
        trials = options.trials if who == "ours" else options.trials // 12
        print(json.dumps({"ours": ours, "stock": stock}[who](trials, options.epochs, record == "yes")))
        return

    rates: dict[str, list[float]] = {}
    arguments = ["--trials", str(options.trials), "--epochs", str(options.epochs)]
    for _ in range(options.rounds):
        for variant in ("ours,no", "ours,yes", "stock,no", "stock,yes"):
            command = [sys.executable, __file__, "--variant", variant, *arguments]
            finished = subprocess.run(command, check=True, capture_output=True, text=True)
            rates.setdefault(variant, []).append(float(finished.stdout.strip().splitlines()[-1]))
    median = {variant: statistics.median(values) for variant, values in rates.items()}
    print("| | reports a second, unrecorded | recorded in MLflow | cost |\n|---|---|---|---|")
    for who, name in (("ours", "fersweep"), ("stock", "Ray Tune and its MLflowLoggerCallback")):
        without, with_ = median[f"{who},no"], median[f"{who},yes"]
        print(f"| {name} | {without:.1f} | {with_:.1f} | {1 - with_ / without:.0%} |")


if __name__ == "__main__":
    main()
