"""What runs in a worker process: one trainable after another, a chunk of epochs a report, checkpoints on the way."""

from __future__ import annotations

import errno
import math
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from fersweep import trainables
from fersweep.cluster.worker.resource_usage import Meter
from fersweep.cluster.worker.trial_settings import TrialSettings
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.record import checkpoints
from fersweep.results.record.journal import trial_name

STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM}


class TrialSession:
    """One trial in training. Picks up at the newest sound checkpoint that an earlier attempt left.

    `notes`: what is worth telling of that, e.g. a damaged checkpoint; the next report takes them along.
    """

    def __init__(
        self, plan: TrialSettings, arrays: TaskArrays, number: int, hparams: dict[str, Any], known_epochs: int
    ):
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
    from fersweep.trainables.protocol import TrialFailed

    lines = str(error).strip().splitlines() or [""]
    reason = lines[0] if isinstance(error, TrialFailed) else f"{type(error).__name__}: {lines[0]}"
    if isinstance(error, MemoryError):
        return "failed", f"out of memory: {lines[0]}".rstrip(": ")
    if isinstance(error, (TrialFailed, ValueError)):
        return "failed", reason
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        return "storage", reason
    return "fault", reason
