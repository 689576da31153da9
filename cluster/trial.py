"""What runs in a worker process: one trainable after another, a chunk of epochs a report, checkpoints on the way."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

import trainables
from data_pipeline.task import TaskArrays
from results.journal import trial_name


@dataclass(frozen=True)
class Plan:
    """What every trial of a sweep has in common. `rungs`: epochs at which a report must end."""

    trainable: str
    trials: Path
    seed: int
    metric: str
    mode: str
    max_epochs: int
    rungs: tuple[int, ...]
    report_s: float


class TrialSession:
    """One trial in training, with its directory. Picks up at `last/` if an earlier process left one."""

    def __init__(self, plan: Plan, arrays: TaskArrays, number: int, hparams: dict[str, Any], known_epochs: int):
        self.plan, self.arrays = plan, arrays
        self.directory = plan.trials / trial_name(number)
        self.patience = hparams.get("early_stopping_patience")
        seed = int(np.random.default_rng([plan.seed, number]).integers(2**31))
        self.trainable = trainables.load(plan.trainable).build(hparams, arrays, seed)
        self.epochs: list[dict[str, float]] = []
        last = newest(self.directory, "last")
        if last:
            self.trainable.load(last)
            self.epochs = json.loads((last / "epochs.json").read_text())
        # Epochs that were trained and saved but that the journal never heard of come first in the next report.
        self.reported = min(known_epochs, len(self.epochs))

    def run(self) -> dict[str, Any]:
        """Train until the next report is due → {"epochs", "status", "reason"}."""
        from trainables.base import TrialFailed

        status, reason, start = self._status(), None, time.perf_counter()
        while status == "running":
            try:
                self.epochs.extend(self.trainable.fit(1))
            except TrialFailed as failure:
                status, reason = "failed", str(failure)
                break
            if self._best_epoch() == len(self.epochs):
                self._save("best")
            status = self._status()
            if len(self.epochs) in self.plan.rungs or time.perf_counter() - start >= self.plan.report_s:
                break
        if status == "running":
            self._save("last")
        elif status == "finished" and len(self.epochs) < self.plan.max_epochs:
            reason = f"no better epoch in {self.patience}"
        rows, self.reported = self.epochs[self.reported :], len(self.epochs)
        return {"epochs": rows, "status": status, "reason": reason}

    def _best_epoch(self) -> int:
        values = [row[self.plan.metric] for row in self.epochs]
        return 1 + int(np.argmax(values) if self.plan.mode == "max" else np.argmin(values))

    def _status(self) -> str:
        num_epochs = len(self.epochs)
        waited = num_epochs - self._best_epoch() if num_epochs else 0
        done = num_epochs >= self.plan.max_epochs or waited >= (self.patience or math.inf)
        return "finished" if done else "running"

    def _save(self, kind: str) -> None:
        """Write the checkpoint `kind`, replacing the one before it only when it is whole."""
        target = self.directory / kind
        fresh, old = target.with_suffix(".new"), target.with_suffix(".old")
        shutil.rmtree(fresh, ignore_errors=True)
        self.trainable.save(fresh)
        if kind == "last":
            (fresh / "epochs.json").write_text(json.dumps(self.epochs))
        else:
            val, model = self.arrays.val, self.trainable
            np.savez(
                fresh / "val.npz", y=val.y, probabilities=model.val_probabilities, face_ids=val.face_ids.astype(str)
            )
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def newest(directory: Path, kind: str) -> Path | None:
    """The checkpoint `kind` ("best", "last") of a trial's directory, also if a crash fell between two renames."""
    for path in (directory / kind, (directory / kind).with_suffix(".old")):
        if path.is_dir():
            return path
    return None


class TrialActor(tune.Trainable):
    """The Ray side of a TrialSession: an actor that is reused for trial after trial, so that it loads its framework once."""

    def setup(self, config: dict[str, Any], arrays: TaskArrays | None = None, plan: Plan | None = None) -> None:
        assert arrays is not None
        assert plan is not None
        self._arrays, self._plan = arrays, plan
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        # Building a model may fail for the trial's own reasons: that is a result, not a broken worker.
        self._config, self._session = config, None

    def step(self) -> dict[str, Any]:
        config = self._config
        try:
            if self._session is None:
                self._session = TrialSession(
                    self._plan, self._arrays, config["trial"], config["hparams"], config["known_epochs"]
                )
            return self._session.run()
        except (ValueError, MemoryError, RuntimeError) as error:
            lines = str(error).strip().splitlines() or [""]
            return {"epochs": [], "status": "failed", "reason": f"{type(error).__name__}: {lines[0]}"}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial writes its own checkpoints, where they outlive Tune's records."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a trial finds its own last checkpoint."""
