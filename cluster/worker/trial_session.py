"""What runs in a worker process: one trial at a time, a chunk of epochs for each report, checkpoints in between."""

from __future__ import annotations

import errno
import math
import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fersweep import trainables
from fersweep.cluster.worker import costs
from fersweep.cluster.worker.resource_usage import Meter, Usage
from fersweep.cluster.worker.trial_settings import TrialSettings
from fersweep.common.own_code import copies
from fersweep.common.own_code.importing import not_copied, where
from fersweep.common.text import masked
from fersweep.common.versions import own_version
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.record import checkpoints
from fersweep.results.record.journal import trial_name
from fersweep.results.record.ranking.progress import OUT_OF_TIME, training_seconds
from fersweep.trainables import own_metrics
from fersweep.trainables.metrics import EpochMetrics
from fersweep.trainables.protocol import TrialFailed

STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class TrialReport:
    """What a trial reports to its driver.

    Attributes:
        epochs: metrics of each epoch since its last report.
        status: "running", "finished", "failed" (for a reason of its own), "fault" (an unforeseen error, to be tried
            again), "storage" (what was trained could not be saved).
        reason: of that status, in a line.
        notes: what a person should know, e.g. of a damaged checkpoint.
        worker: what its process uses; None if that was not measured.
        costs: what its model costs (costs.py), in its first report.
    """

    epochs: list[dict[str, float]]
    status: str
    reason: str | None
    notes: list[str] = field(default_factory=list)
    worker: Usage | None = None
    costs: dict[str, float] = field(default_factory=dict[str, float])

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "worker": self.worker.as_json() if self.worker else {}}


class TrialSession:
    """One trial in training. It is resumed from the newest sound checkpoint that an earlier attempt left.

    `notes`: what the next report says of that, e.g. a damaged checkpoint, or one of another trial. `earlier`, `adopts`: as
    of an Assignment (cluster/search/decisions.py).
    """

    def __init__(
        self,
        settings: TrialSettings,
        arrays: TaskArrays,
        number: int,
        hparams: dict[str, Any],
        known_epochs: int,
        earlier: tuple[tuple[int, dict[str, Any]], ...] = (),
        adopts: checkpoints.Adopted | None = None,
    ):
        self.settings, self.arrays, self.number = settings, arrays, number
        self.patience = hparams.get("early_stopping_patience")
        seed = checkpoints.trial_seed(settings.seed, number)
        self.owner = checkpoints.Owner(
            settings.sweep_id, number, hparams, seed, arrays.fingerprint, own_version(), earlier
        )
        self.adopts = adopts
        for code in settings.code:
            copies.register(code)
        self._own_metrics = [own_metrics.load(name) for name in settings.own_metrics]
        trainables.expect(settings.trainable, settings.fetched)
        self.trainable = trainables.build(settings.trainable, hparams, arrays, seed)
        self.epochs: list[dict[str, float]] = []
        self.notes: list[str] = []
        self.meter = Meter(settings.gpus)
        self._costs_known = known_epochs > 0
        self._checkpoint_bytes = 0  # of the newest that this attempt stored
        self._saved: list[int] = []  # epochs that have a sound checkpoint, as far as this attempt knows
        self._resume()
        # Epochs that were trained and saved but are not in the journal are the next report; those that are in it
        # but whose checkpoint is damaged are trained again and not reported again.
        self.reported = known_epochs

    def _resume(self) -> None:
        settings = self.settings
        if foreign := checkpoints.set_aside(settings.storage, self.owner):
            self.notes.append(foreign)
        saved, since = checkpoints.saved(settings.storage, self.number), self.adopts.epoch if self.adopts else 0
        for epoch in reversed([epoch for epoch in saved if epoch > since]):
            try:
                directory = checkpoints.fetch(settings.storage, self.number, epoch, settings.directory, self.owner)
                self.trainable.load(directory)
                self.epochs = checkpoints.read_epochs(directory)
                self._saved = saved[: saved.index(epoch) + 1]
                break
            except checkpoints.Damaged as damage:
                self.notes.append(str(damage))
        else:
            if self.adopts:
                self._adopt(self.adopts)
                self._saved = [epoch for epoch in saved if epoch <= since]
        if self.notes:
            since = f"epoch {len(self.epochs)}" if self.epochs else "the start"
            self.notes[-1] += f"; trial {trial_name(self.number)} goes on from {since}"

    def _adopt(self, adopts: checkpoints.Adopted) -> None:
        """Go on from the checkpoint of another trial; the epochs so far are this trial's own. Raises Damaged and
        FileNotFoundError: the trial's own checkpoint may be of another net.
        """
        settings, owner = self.settings, self.owner
        own = checkpoints.fetch(settings.storage, self.number, adopts.epoch, settings.directory, owner)
        seed = checkpoints.trial_seed(settings.seed, adopts.trial)
        donor = replace(owner, trial=adopts.trial, hparams=adopts.hparams, seed=seed, earlier=())
        self.trainable.load(checkpoints.fetch(settings.storage, adopts.trial, adopts.epoch, settings.directory, donor))
        self.epochs = checkpoints.read_epochs(own)

    def run(self) -> TrialReport:
        """Train until the next report is due."""
        reason, known, measured = None, None, dict[str, float]()
        try:
            checkpoints.prune(self.settings.storage, self.number, self._needed())
            status = self._status() if self.reported < len(self.epochs) else self._train()
            if status == "finished" and len(self.epochs) < self.settings.max_epochs:
                reason = self._why_finished()
            measured = self._measured()
        except Exception as error:
            status, reason = verdict(error)
            if status != "failed":  # what has no checkpoint will be trained again
                known = max(self._saved, default=0)
        rows, self.reported = self.epochs[self.reported : known], max(self.reported, len(self.epochs))
        notes, self.notes = self.notes, []
        return TrialReport(rows, status, reason, notes, self.meter.read(), measured)

    def _measured(self) -> dict[str, float]:
        """What the model costs, in the first report."""
        if self._costs_known or not self.epochs:
            return {}
        self._costs_known = True
        on_gpu, budget_s = self.settings.gpus > 0, self.settings.latency_s
        measured = costs.measured(self.trainable, self.arrays.val.x, on_gpu, budget_s)
        return measured | ({"checkpoint_bytes": self._checkpoint_bytes} if self._checkpoint_bytes else {})

    def _train(self) -> str:
        """Train up to the next report and save → the trial's status."""
        status, start, better = self._status(), time.perf_counter(), None
        with tempfile.TemporaryDirectory(prefix="fersweep-") as scratch:
            while status == "running":
                self.epochs.extend(map(self._with_own_metrics, self.trainable.fit(1)))
                status, epoch = self._status(), len(self.epochs)
                over = self._at_rung() or time.perf_counter() - start >= self.settings.report_s
                if self._best_epoch() == epoch:
                    better = self.trainable.val_probabilities
                    if status == "running" and not over:  # a better one may follow before the report
                        shutil.rmtree(scratch)
                        checkpoints.write(Path(scratch), self.trainable, self.epochs, self.owner)
                if over:
                    break
            self._store(Path(scratch), better)
        return status

    def _with_own_metrics(self, row: EpochMetrics) -> EpochMetrics:
        """The metrics of the epoch that was just trained, and those of people's own, whose time is not in `epoch_s`."""
        if not self._own_metrics:
            return row
        own = own_metrics.of_epoch(self._own_metrics, self.arrays, self.trainable.val_probabilities)
        if taken := sorted(row.keys() & own.keys()):
            raise TrialFailed(
                f"{taken[0]} is a metric of the trainable {self.settings.trainable}, too: rename the function"
            )
        return {**row, **own}

    def _store(self, written: Path, predictions: np.ndarray | None) -> None:
        """Store the report's last epoch, and its best one if it is the trial's best; `written`: that one, if not the last."""
        storage, number, best = self.settings.storage, self.number, self._best_epoch() if self.epochs else 0
        if predictions is not None:
            checkpoints.save_predictions(storage, number, best, self.arrays.val.y, predictions, self.owner)
            if best < len(self.epochs):
                checkpoints.publish(storage, number, best, written)
                self._saved.append(best)
        if self.epochs and len(self.epochs) not in self._saved:
            self._checkpoint_bytes = checkpoints.save(storage, number, self.trainable, self.epochs, self.owner)
            self._saved.append(len(self.epochs))

    def _needed(self) -> set[int]:
        """Epochs whose checkpoints are needed: the best, and the newest two, in case that one is damaged; those of rungs, if
        other trials may go on from them, until the driver deletes them.
        """
        rungs = map(int, self.settings.rungs if self.settings.keep_rungs else ())
        return {self._best_epoch(), *sorted(self._saved)[-2:], *rungs} if self.epochs else set()

    def _best_epoch(self) -> int:
        values = [row[self.settings.metric] for row in self.epochs]
        return 1 + int(np.argmax(values) if self.settings.mode == "max" else np.argmin(values))

    def _status(self) -> str:
        num_epochs = len(self.epochs)
        waited = num_epochs - self._best_epoch() if num_epochs else 0
        finished = (
            num_epochs >= self.settings.max_epochs or waited >= (self.patience or math.inf) or self._is_timed_out()
        )
        return "finished" if finished else "running"

    def _is_timed_out(self) -> bool:
        return self.settings.max_s is not None and self._seconds()[-1] >= self.settings.max_s

    def _why_finished(self) -> str:
        """Of a trial that has not trained all its epochs."""
        return (
            f"{OUT_OF_TIME} {self.settings.max_s:.10g} s"
            if self._is_timed_out()
            else f"no better epoch in {self.patience}"
        )

    def _at_rung(self) -> bool:
        """Whether the last epoch has reached one."""
        if self.settings.unit == "epochs":
            return len(self.epochs) in self.settings.rungs
        before, now = self._seconds()[-2:]
        return any(before < level <= now for level in self.settings.rungs)

    def _seconds(self) -> list[float]:
        """Of training by the end of each epoch, with the start, 0, before them."""
        return [0.0, *training_seconds(row.get("epoch_s", 0.0) for row in self.epochs)]


def verdict(error: Exception) -> tuple[str, str]:
    """The status and the one-line reason that an exception gives a trial: see TrialReport."""
    lines = masked(str(error)).strip().splitlines() or [""]
    text = f"{lines[0]}{not_copied(error)}"
    reason = text if isinstance(error, TrialFailed) else f"{type(error).__name__}{text and f': {text}'}{where(error)}"
    if isinstance(error, MemoryError):
        return "failed", f"out of memory: {lines[0]}".rstrip(": ")
    if isinstance(error, (TrialFailed, ValueError)):
        return "failed", reason
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        return "storage", reason
    return "fault", reason
