"""Sweep directories for tests, with the real files of a sweep and without Ray: what a driver would have left behind."""

import json
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fersweep import trainables
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.features import kind
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record import checkpoints
from fersweep.results.record.journal import Journal
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.trainables.metrics import majority_baseline
from tests.datasets import write_tiny_dataset

METRIC = "val_macro_f1"
UP_TO_1 = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'
COSTS = {"latency_ms": 0.25, "weights": 156.0, "checkpoint_bytes": 2_000.0}
WORKER = {"host": "node-1", "pid": 123, "cpu_percent": 87.5, "rss_bytes": 400_000_000}


def write_sweep_json(
    home: Path, dataset: Path, arrays: TaskArrays, name: str = "tiny", trainable: str = "curve"
) -> Path:
    """The directory and `sweep.json` of a sweep over `dataset` that has not begun; returns the directory."""
    sweep_dir = home / "sweeps" / name
    sweep_dir.mkdir(parents=True)
    classes = arrays.classes
    baseline = majority_baseline(arrays.train.y, arrays.val.y, len(classes))
    baseline["majority_class"] = classes[int(baseline["majority_class"])]
    sweep = {
        "sweep": {
            "name": name,
            "task": TaskSpec(features=kind(arrays.feature_names), fold="all" if arrays.folds else None).model_dump(),
            "trainable": trainable,
            "space": {"fix": {}, "range": {"rate": [0.05, 0.5]}},
            "search": {"sampler": "tpe", "num_trials": 4, "seed": 7, "start_from": []},
            "stop": {
                "metric": METRIC,
                "mode": "max",
                "scheduler": "asha",
                "grace_epochs": 2,
                "max_epochs": 9,
                "reduction": 3,
            },
            "resources": {"cpus": 1, "gpus": 0},
            "tracking": {"uri": None, "experiment": None},
        },
        "sweep_id": uuid.uuid4().hex,
        "dataset": {"path": str(dataset), "fingerprint": arrays.fingerprint, "classes": classes, "name": dataset.name},
        "classes": classes,
        "feature_names": arrays.feature_names,
        "baseline": baseline,
        "created": "2026-01-02T03:04:05+00:00",
        **({"num_folds": len(arrays.folds)} if arrays.folds else {}),
        "command": f"fersweep launch quick --name {name}",
        "git_commit": "0" * 40,
        "versions": {"ray": "2.60.0", "optuna": "5.0.0"},
        "home": str(home),
    }
    (sweep_dir / "sweep.json").write_text(json.dumps(sweep))
    return sweep_dir


class FakeDriver:
    """Trains trials in this process and writes a journal as the driver does."""

    def __init__(self, sweep_dir: Path, arrays: TaskArrays):
        self.sweep_dir, self.arrays = sweep_dir, arrays
        self.journal = Journal(sweep_dir / "journal.jsonl")

    def sample(self, trial: int, hparams: dict[str, Any], point: str | None = None, **more: Any) -> None:
        params = {name: value for name, value in hparams.items() if isinstance(value, float)}
        known = dict.fromkeys(params, UP_TO_1)
        self.journal.append(
            "sampled", trial=trial, hparams=hparams, params=params, distributions=known, point=point, **more
        )

    def report(self, trial: int, epochs: Sequence[dict[str, Any]], costs: dict[str, float] | None = None) -> None:
        self.journal.append("report", trial=trial, epochs=list(epochs), worker=WORKER, costs=costs or COSTS)

    def end(self, trial: int, state: str, reason: str | None = None) -> None:
        self.journal.append("ended", trial=trial, state=state, reason=reason)

    def run_trial(
        self,
        trial: int,
        hparams: dict[str, Any],
        num_epochs: int,
        state: str,
        chunk: int = 2,
        costs: dict[str, float] | None = None,
        **more: Any,
    ) -> None:
        """A trial from its sampling to its end, reported `chunk` epochs at a time, with checkpoint and predictions; `more`:
        of its first event.
        """
        self.sample(trial, hparams, "start" if trial == 0 else None, **more)
        name = json.loads((self.sweep_dir / "sweep.json").read_text())["sweep"]["trainable"]
        model = trainables.build(name, hparams, self.arrays, trial)
        for first in range(0, num_epochs, chunk):
            self.report(trial, model.fit(min(chunk, num_epochs - first)), costs)
        storage, record = Storage(self.sweep_dir), self.journal.record.trials[trial]
        best = record.best(METRIC, "max") or record.epochs[-1]
        val = self.arrays.val
        checkpoints.save(storage, trial, model, record.epochs[: int(best["epoch"])])
        answers = model.val_probabilities if self.arrays.folds else model.predict(val.x)
        checkpoints.save_predictions(storage, trial, int(best["epoch"]), val.y, answers)
        self.end(trial, state, "worse than the others at epoch 2" if state == "stopped" else None)


def write_journal(sweep_dir: Path, sampled: Sequence[dict[str, Any]], seed: int = 0) -> None:
    """The journal of a sweep whose trials, sampled so ({hparams, params, distributions}), were never trained: learning
    curves are drawn, two workers take turns, ASHA stops two thirds at each rung, every tenth trial fails.
    """
    stop = json.loads((sweep_dir / "sweep.json").read_text())["sweep"]["stop"]
    rng, free_at, events, time_ = np.random.default_rng(seed), [1.8e9 + 5, 1.8e9 + 5], [], 1.8e9
    events.append({"event": "session", "time": time_, "action": "started", "pid": 1, "host": "one"})
    for number, trial in enumerate(sampled):
        lane = int(np.argmin(free_at))
        worker, time_ = {**WORKER, "pid": 100 + lane}, free_at[lane]
        events.append({"event": "sampled", "time": time_, "trial": number, "point": None, **trial})
        kind, length, rung = "stopped", stop["grace_epochs"], rng.random()
        while rung < 1 / 3 and length < stop["max_epochs"]:
            length, rung = length * stop["reduction"], rng.random()
        if length >= stop["max_epochs"]:
            kind, length = "finished", stop["max_epochs"]
        kind = "failed" if number % 10 == 9 else kind
        scores = rng.uniform(0.5, 0.75) * (1 - np.exp(-0.5 * np.arange(1, length + 1))) + rng.normal(0, 0.01, length)
        for epoch, score in enumerate(scores.tolist(), 1):
            time_ += 2.0
            row = {"epoch": epoch, "train_loss": 1 - score, "val_loss": 1.1 - score, METRIC: score, "epoch_s": 1.9}
            events.append({"event": "report", "time": time_, "trial": number, "epochs": [row], "worker": worker})
        reason = {"stopped": f"below the best 1/3 at epoch {length}", "failed": "val_loss is nan"}.get(kind)
        events.append({"event": "ended", "time": time_, "trial": number, "state": kind, "reason": reason})
        free_at[lane] = time_ + 0.5
    events.sort(key=lambda event: event["time"])
    events.append({"event": "session", "time": max(free_at), "action": "finished", "pid": 1, "host": "one"})
    (sweep_dir / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


NewSweep = Callable[..., tuple[Path, FakeDriver]]  # the fixture of results/conftest.py
Recorded = Callable[..., Path]  # that of results/housekeeping/conftest.py


def write_sweep(home: Path, dataset: Path | None = None, num_trials: int = 4, name: str = "tiny") -> Path:
    """A sweep that ran to its end: trials 1, 5, … stopped by ASHA, trial 2 failed with NaN, the others of 9 epochs."""
    dataset = dataset or write_tiny_dataset(home / "data" / "tiny")
    arrays = Task(dataset).arrays()
    sweep_dir = write_sweep_json(home, dataset, arrays, name)
    driver = FakeDriver(sweep_dir, arrays)
    driver.journal.session("started")
    for trial in range(num_trials):
        hparams = {"rate": 0.1 + 0.02 * trial, "top": 0.8, "noise": 0.01}
        if trial == 2:
            driver.sample(trial, hparams)
            rows = [
                {"epoch": 1, "val_loss": 1.0, METRIC: 0.3},
                {"epoch": 2, "val_loss": float("nan"), METRIC: float("nan")},
            ]
            driver.report(trial, rows)
            driver.end(trial, "failed", "val_loss is nan at epoch 2")
        else:
            stopped = trial % 4 == 1
            driver.run_trial(trial, hparams, 2 if stopped else 9, "stopped" if stopped else "finished")
    driver.journal.session("finished")
    driver.journal.close()
    return sweep_dir


def change_asked(sweep_dir: Path, **changes: Any) -> None:
    """Change the sweep file in a `sweep.json`."""
    content = json.loads((sweep_dir / "sweep.json").read_text())
    content["sweep"] |= changes
    (sweep_dir / "sweep.json").write_text(json.dumps(content))


def store_in_bucket(sweep_dir: Path, bucket: str) -> Storage:
    """Put a sweep into a bucket, as its driver would have → its place there."""
    change_asked(sweep_dir, storage=bucket)
    storage = read_sweep_json(sweep_dir).storage(sweep_dir)
    for path in Storage(sweep_dir).sizes():
        if path != "journal.jsonl":
            storage.write(path, (sweep_dir / path).read_bytes())
    storage.write("journal/0000", (sweep_dir / "journal.jsonl").read_bytes())
    return storage


if __name__ == "__main__":
    import sys

    start = time.time()
    print(write_sweep(Path(sys.argv[1]), num_trials=int(sys.argv[2])), f"{time.time() - start:.1f} s")
