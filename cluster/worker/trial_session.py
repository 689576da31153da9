"""One trial in training: what it is resumed from, what is saved of it, what it reports. Its population trains it
(population_session.py).
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.cluster.worker import costs
from fersweep.cluster.worker.one_model import Written
from fersweep.cluster.worker.resource_usage import Usage
from fersweep.cluster.worker.trial_report import TrialReport, verdict
from fersweep.cluster.worker.trial_settings import TrialSettings
from fersweep.common.errors import InputError
from fersweep.common.versions import own_version
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.record import checkpoints
from fersweep.results.record.journal import trial_name
from fersweep.results.record.ranking.progress import OUT_OF_TIME, training_seconds
from fersweep.trainables import own_metrics
from fersweep.trainables.metrics import EpochMetrics
from fersweep.trainables.population import Population, Saved
from fersweep.trainables.protocol import TrialFailed


class TrialSession:
    """A trial as a member of a population. It is resumed from the newest sound checkpoint that an earlier attempt left.

    `notes`: what the next report says of that, e.g. a damaged checkpoint, or one of another trial. `hparams`, `known_epochs`,
    `earlier`, `adopts`: as of an Assignment (cluster/search/assignment.py).
    """

    def __init__(
        self,
        settings: TrialSettings,
        arrays: TaskArrays,
        population: Population,
        trial: int,
        hparams: dict[str, Any],
        known_epochs: int,
        earlier: tuple[tuple[int, dict[str, Any]], ...] = (),
        adopts: checkpoints.Adopted | None = None,
    ):
        self.settings, self.arrays, self.number = settings, arrays, trial
        self.patience = hparams.get("early_stopping_patience")
        seed = checkpoints.trial_seed(settings.seed, trial)
        self.owner = checkpoints.Owner(
            settings.sweep_id, trial, hparams, seed, arrays.fingerprint, own_version(), earlier
        )
        self.adopts = adopts
        self._own_metrics = [own_metrics.load(name) for name in settings.own_metrics]
        self.epochs: list[dict[str, float]] = []
        self.notes: list[str] = []
        self.stored_s = 0.0  # that its last report took to be saved
        self._costs_known = known_epochs > 0
        self._checkpoint_bytes = 0  # of the newest that this attempt stored
        self._saved: list[int] = []  # epochs that have a sound checkpoint, as far as this attempt knows
        self._pruned = self._trained = False
        self._verdict: tuple[str, str] | None = None  # on an attempt that cannot go on
        self._answers: np.ndarray | None = None  # on val, of an epoch since the last report that is the best of all
        self._better: Saved | None = None  # the model of that epoch, if it has trained on since
        self.trainable = population.add(hparams, seed)
        try:
            self._resume(population)
        except BaseException:
            population.remove([self.trainable])
            raise
        # Epochs that were trained and saved but are not in the journal are the next report; those that are in it
        # but whose checkpoint is damaged are trained again and not reported again.
        self.reported = known_epochs
        self._at_report = self.reported < len(self.epochs)

    def _resume(self, population: Population) -> None:
        settings = self.settings
        if foreign := checkpoints.set_aside(settings.storage, self.owner):
            self.notes.append(foreign)
        saved, since = checkpoints.saved(settings.storage, self.number), self.adopts.epoch if self.adopts else 0
        for epoch in reversed([epoch for epoch in saved if epoch > since]):
            try:
                directory = checkpoints.fetch(settings.storage, self.number, epoch, settings.directory, self.owner)
                self.epochs = self._load(directory, epoch)
                self._saved = saved[: saved.index(epoch) + 1]
                break
            except checkpoints.Foreign:
                raise
            except (checkpoints.Damaged, LookupError, ValueError) as damage:
                self.notes.append(_damage(damage, checkpoints.place(self.number, epoch)))
                population.remove([self.trainable])  # which may have loaded half of it
                self.trainable = population.add(self.owner.hparams, self.owner.seed)
        else:
            if self.adopts:
                self._adopt(self.adopts)
                self._saved = [epoch for epoch in saved if epoch <= since]
        if self.notes:
            since = f"epoch {len(self.epochs)}" if self.epochs else "the start"
            self.notes[-1] += f"; trial {trial_name(self.number)} goes on from {since}"

    def _load(self, directory: Path, epoch: int) -> list[dict[str, float]]:
        """The epochs of a checkpoint, whose model is loaded."""
        epochs = checkpoints.read_epochs(directory)
        self.trainable.load(directory)
        if len(epochs) != epoch or self.trainable.epoch != epoch:
            raise checkpoints.Damaged(
                f"checkpoint {checkpoints.place(self.number, epoch)} is of other epochs: {self.trainable.epoch} of its model, "
                f"{len(epochs)} with metrics"
            )
        return epochs

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

    def prune(self) -> None:
        """Delete checkpoints that are not needed any more, once its report has been heard."""
        if not self._pruned:
            self._pruned = True
            try:
                checkpoints.prune(self.settings.storage, self.number, self._needed())
            except Exception as error:
                self._verdict = verdict(error)

    def take(self, row: EpochMetrics | Exception) -> None:
        """The epoch that its model has just trained, or why it cannot go on."""
        self._trained = True
        try:
            if isinstance(row, Exception):
                raise row
            self.epochs.append(self._with_own_metrics(row))
        except Exception as error:
            self._verdict = verdict(error)
            return
        self._at_report = self._at_rung()
        if self._best_epoch() == len(self.epochs):
            self._answers, self._better = self.trainable.val_probabilities.copy(), None

    @property
    def must_report(self) -> bool:
        """Whether it trains no further before it has reported."""
        return self._verdict is not None or self._at_report or self._status() != "running"

    @property
    def has_news(self) -> bool:
        """Whether it has trained since its last report."""
        return self._trained or self.must_report

    def keep_better(self) -> None:
        """It trains on before it reports: keep the state of its best epoch."""
        if self._best_epoch() < len(self.epochs) or self._better is not None:
            return
        try:
            model = self.trainable
            self._better = model.snapshot() if hasattr(model, "snapshot") else Written(model)
        except Exception as error:
            self._verdict = verdict(error)

    def report(self, usage: Usage) -> TrialReport:
        """Save what was trained, and report it. `usage`: of this process."""
        reason, known, measured = None, None, dict[str, float]()
        try:
            if self._verdict is None:
                start, status = time.perf_counter(), self._status()
                self._store()
                self.stored_s = time.perf_counter() - start
                if status == "finished" and len(self.epochs) < self.settings.max_epochs:
                    reason = self._why_finished()
                measured = self._measured()
            else:
                status, reason = self._verdict
        except Exception as error:
            status, reason = verdict(error)
        if status not in ("running", "finished", "failed"):  # what has no checkpoint will be trained again
            known = max(self._saved, default=0)
        rows, self.reported = self.epochs[self.reported : known], max(self.reported, len(self.epochs))
        notes, self.notes = self.notes, []
        self._at_report = self._pruned = self._trained = False
        return TrialReport(self.number, rows, status, reason, notes, usage, measured)

    def _measured(self) -> dict[str, float]:
        """What the model costs, in the first report."""
        if self._costs_known or not self.epochs:
            return {}
        self._costs_known = True
        on_gpu, budget_s = self.settings.gpus > 0, self.settings.latency_s
        measured = costs.measured(self.trainable, self.arrays.val.x, on_gpu, budget_s)
        return measured | ({"checkpoint_bytes": self._checkpoint_bytes} if self._checkpoint_bytes else {})

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

    def _store(self) -> None:
        """Store the report's last epoch, and its best one if it is the trial's best."""
        storage, number, best = self.settings.storage, self.number, self._best_epoch() if self.epochs else 0
        if self._answers is not None:
            checkpoints.save_predictions(storage, number, best, self.arrays.val.y, self._answers, self.owner)
            if best < len(self.epochs):
                assert self._better is not None
                checkpoints.save(storage, number, self._better, self.epochs[:best], self.owner)
                self._saved.append(best)
        self._answers = self._better = None
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


def _damage(error: Exception, checkpoint: str) -> str:
    """What is wrong with a checkpoint that could not be loaded, though its checksums fit."""
    if isinstance(error, (checkpoints.Damaged, InputError)):
        return str(error)
    return f"checkpoint {checkpoint} is not of this trial's model ({type(error).__name__}: {error})"
