"""What runs in a worker process: one trainable after another, a chunk of epochs a report, checkpoints on the way."""

from __future__ import annotations

import errno
import faulthandler
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

import trainables
from cluster.meter import Meter
from data_pipeline.task import TaskArrays
from results import checkpoints
from results.journal import trial_name
from results.storage import Storage
from trainables import gpu_share

STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Plan:
    """What every trial of a sweep has in common. `rungs`: epochs at which a report must end; `gpus`: share of a GPU."""

    trainable: str
    directory: Path
    storage: Storage
    seed: int
    metric: str
    mode: str
    max_epochs: int
    rungs: tuple[int, ...]
    report_s: float
    timeout_s: float | None
    gpus: float


class TrialSession:
    """One trial in training. Picks up at the newest sound checkpoint that an earlier attempt left.

    `notes`: what is worth telling of that, e.g. a damaged checkpoint; the next report takes them along.
    """

    def __init__(self, plan: Plan, arrays: TaskArrays, number: int, hparams: dict[str, Any], known_epochs: int):
        self.plan, self.arrays, self.number = plan, arrays, number
        self.patience = hparams.get("early_stopping_patience")
        seed = int(np.random.default_rng([plan.seed, number]).integers(2**31))
        self.trainable = trainables.load(plan.trainable).build(hparams, arrays, seed)
        self.epochs: list[dict[str, float]] = []
        self.notes: list[str] = []
        self.meter = Meter(plan.gpus)
        self._saved: list[int] = []  # epochs that have a sound checkpoint, as far as this attempt knows
        self._pick_up()
        # Epochs that were trained and saved but that the journal never heard of are the next report; those that it knows
        # but whose checkpoint is damaged are trained again and not told again.
        self.reported = known_epochs

    def _pick_up(self) -> None:
        plan = self.plan
        found = checkpoints.saved(plan.storage, self.number)
        for epoch in reversed(found):
            try:
                directory = checkpoints.fetch(plan.storage, self.number, epoch, plan.directory)
                self.trainable.load(directory)
                self.epochs = checkpoints.read_epochs(directory)
                self._saved = found[: found.index(epoch) + 1]
                break
            except checkpoints.Damaged as damage:
                self.notes.append(str(damage))
        if self.notes:
            since = f"epoch {len(self.epochs)}" if self.epochs else "the start"
            self.notes[-1] += f"; trial {trial_name(self.number)} goes on from {since}"

    def run(self) -> dict[str, Any]:
        """Train until the next report is due → {"epochs", "status", "reason", "notes", "worker"}.

        status: "running", "finished", "failed" (for a reason of its own), "fault" (something unforeseen, to be tried
        again), "storage" (what was trained could not be saved). worker: see Meter.read.
        """
        reason, known = None, None
        try:
            checkpoints.prune(self.plan.storage, self.number, self._needed())
            status = self._status() if self.reported < len(self.epochs) else self._train()
            if status == "finished" and len(self.epochs) < self.plan.max_epochs:
                reason = f"no better epoch in {self.patience}"
        except Exception as error:
            status, reason = verdict(error)
            if status != "failed":  # what has no checkpoint will be trained again
                known = max(self._saved, default=0)
        rows, self.reported = self.epochs[self.reported : known], max(self.reported, len(self.epochs))
        notes, self.notes = self.notes, []
        return {"epochs": rows, "status": status, "reason": reason, "notes": notes, "worker": self.meter.read()}

    def _train(self) -> str:
        """Train up to the next report and save → the trial's status."""
        status, start, better = self._status(), time.perf_counter(), None
        with tempfile.TemporaryDirectory(prefix="fersweep-") as scratch:
            while status == "running":
                self.epochs.extend(self.trainable.fit(1))
                status, epoch = self._status(), len(self.epochs)
                over = epoch in self.plan.rungs or time.perf_counter() - start >= self.plan.report_s
                if self._best_epoch() == epoch:
                    better = self.trainable.val_probabilities
                    if status == "running" and not over:  # a better one may follow before the report
                        shutil.rmtree(scratch)
                        checkpoints.write(Path(scratch), self.trainable, self.epochs)
                if over:
                    break
            self._store(Path(scratch), better)
        return status

    def _store(self, written: Path, predictions: np.ndarray | None) -> None:
        """Store the report's last epoch, and its best one if that is the trial's: `written`, where it is not the last."""
        storage, number, best = self.plan.storage, self.number, self._best_epoch() if self.epochs else 0
        if predictions is not None:
            checkpoints.save_predictions(storage, number, best, self.arrays.val.y, predictions)
            if best < len(self.epochs):
                checkpoints.publish(storage, number, best, written)
                self._saved.append(best)
        if self.epochs and len(self.epochs) not in self._saved:
            checkpoints.save(storage, number, self.trainable, self.epochs)
            self._saved.append(len(self.epochs))

    def _needed(self) -> set[int]:
        """Epochs whose checkpoints are needed: the best, and the newest two, in case that one is damaged."""
        return {self._best_epoch(), *sorted(self._saved)[-2:]} if self.epochs else set()

    def _best_epoch(self) -> int:
        values = [row[self.plan.metric] for row in self.epochs]
        return 1 + int(np.argmax(values) if self.plan.mode == "max" else np.argmin(values))

    def _status(self) -> str:
        num_epochs = len(self.epochs)
        waited = num_epochs - self._best_epoch() if num_epochs else 0
        done = num_epochs >= self.plan.max_epochs or waited >= (self.patience or math.inf)
        return "finished" if done else "running"


def verdict(error: Exception) -> tuple[str, str]:
    """The status and the one-line reason that an exception gives a trial: see TrialSession.run."""
    from trainables.base import TrialFailed

    lines = str(error).strip().splitlines() or [""]
    reason = lines[0] if isinstance(error, TrialFailed) else f"{type(error).__name__}: {lines[0]}"
    if isinstance(error, MemoryError):
        return "failed", f"out of memory: {lines[0]}".rstrip(": ")
    if isinstance(error, (TrialFailed, ValueError)):
        return "failed", reason
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        return "storage", reason
    return "fault", reason


class TrialActor(tune.Trainable):
    """The Ray side of a TrialSession: an actor that is reused for trial after trial, so that it loads its framework once."""

    def setup(self, config: dict[str, Any], arrays: TaskArrays | None = None, plan: Plan | None = None) -> None:
        assert arrays is not None
        assert plan is not None
        if plan.gpus == 0:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray 2.60 hides no GPU from a trial that asks for none
        os.environ.pop(gpu_share.SHARE, None)  # no framework is loaded yet: each reads it when it is
        if 0 < plan.gpus < 1:
            os.environ[gpu_share.SHARE] = str(plan.gpus)
        self._arrays, self._plan = arrays, plan
        self._config, self._session = config, None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._config, self._session = new_config, None
        return True

    def step(self) -> dict[str, Any]:
        config = self._config
        try:  # building a model may fail for the trial's own reasons: that is a result, not a broken worker
            with _watched(self._plan, config["trial"]):
                if self._session is None:
                    self._session = TrialSession(
                        self._plan, self._arrays, config["trial"], config["hparams"], config["known_epochs"]
                    )
                return self._session.run()
        except Exception as error:
            status, reason = verdict(error)
            return {"epochs": [], "status": status, "reason": reason, "notes": [], "worker": {}}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial writes its own checkpoints, where they outlive Tune's records."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a trial finds its own last checkpoint."""


@contextmanager
def _watched(plan: Plan, number: int) -> Iterator[None]:
    """End this process if the block takes longer than stop.timeout_s, even if Python itself hangs.

    Where it hung is written to `hang.txt` in the trial's directory, if that is a directory that this machine sees.
    """
    if plan.timeout_s is None:
        yield
        return
    directory = plan.directory / "trials" / trial_name(number)
    if plan.storage.path is None:  # in a bucket: the worker's log has it
        with _timer(plan.timeout_s, sys.__stderr__):
            yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    told = directory / "hang.txt"
    with told.open("w") as file, _timer(plan.timeout_s, file):
        yield
    told.unlink()


@contextmanager
def _timer(timeout_s: float, file: Any) -> Iterator[None]:
    faulthandler.dump_traceback_later(timeout_s, exit=True, file=file)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
