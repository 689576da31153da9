"""A sweep as its directory holds it: `sweep.json`, the replayed journal, and what its trials left.

recorded = load_sweep(sweep_dir)
recorded.sweep.asked.trainable, recorded.record.trials[7], recorded.ranked()[0]
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fersweep.common.errors import InputError
from fersweep.results.record import checkpoints, journal
from fersweep.results.record.home import refuse_missing_journal
from fersweep.results.record.journal import Row, SweepRecord, TrialRecord
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import SweepJson, read_sweep_json


@dataclass(frozen=True)
class RecordedSweep:
    """A sweep that was launched, and what has happened since.

    Attributes:
        directory: of the sweep, on this machine.
        sweep: what was asked.
        record: what happened, replayed from the journal.
    """

    directory: Path
    sweep: SweepJson
    record: SweepRecord

    @property
    def storage(self) -> Storage:
        return self.sweep.storage(self.directory)

    def best(self, trial: TrialRecord) -> Row | None:
        """Metrics of the trial's best epoch; None if it has none."""
        return trial.best(self.sweep.metric, self.sweep.mode)

    def value(self, trial: TrialRecord) -> float | None:
        """The sweep's metric at the trial's best epoch."""
        return trial.value(self.sweep.metric, self.sweep.mode)

    def ranked(self) -> list[TrialRecord]:
        """The trials that have a value, best first."""
        return self.record.ranked(self.sweep.metric, self.sweep.mode)

    def kept_trials(self) -> list[TrialRecord]:
        """The ended trials whose best checkpoint is kept, best first: `keep_checkpoints` of the whole sweep."""
        return self.record.kept(self.sweep.metric, self.sweep.mode, self.sweep.asked.keep_checkpoints)

    def owner(self, trial: TrialRecord) -> checkpoints.Owner:
        """What the trial's checkpoints say of it."""
        seed = checkpoints.trial_seed(self.sweep.asked.search.seed, trial.number)
        fingerprint, now, earlier = self.sweep.dataset.fingerprint, trial.now.hparams, trial.earlier()
        return checkpoints.Owner(self.sweep.sweep_id, trial.number, now, seed, fingerprint, earlier=earlier)

    def best_checkpoint(self, trial: TrialRecord) -> Path | None:
        """Local directory of a trial's checkpoint at its best epoch, checked; None where it was not kept, or not yet made.

        Raises RuntimeError if it is damaged; InputError if it is another trial's.
        """
        best = self.best(trial)
        if best is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            return checkpoints.fetch(self.storage, trial.number, int(best["epoch"]), self.directory, self.owner(trial))
        return None

    def val_predictions(self, trial: TrialRecord) -> tuple[np.ndarray, np.ndarray] | None:
        """y (N,) and probabilities (N, C) float32 on val at the trial's best epoch; None while they are not written, and,
        with a line on stderr, where they are another trial's.
        """
        local, owner, num_classes = Storage(self.directory), self.owner(trial), len(self.sweep.classes)
        try:
            predictions = checkpoints.read_predictions(local, trial.number, num_classes, owner)
            if predictions is None and self.storage.path is None:
                predictions = checkpoints.read_predictions(self.storage, trial.number, num_classes, owner)
                if predictions is not None and trial.state != "running":
                    best = self.best(trial) or {"epoch": 0}
                    checkpoints.save_predictions(local, trial.number, int(best["epoch"]), *predictions, owner)
        except checkpoints.Foreign as foreign:
            print(foreign, file=sys.stderr)
            return None
        return predictions

    def choose_trial(self, number: int | None) -> tuple[TrialRecord, Path]:
        """The trial asked for, else the best that has a checkpoint, and that checkpoint. InputError if there is none."""
        without: list[str] = []
        for trial in self.ranked():
            if number in (None, trial.number) and (checkpoint := self.best_checkpoint(trial)):
                if without:
                    print(
                        f"note: {', '.join(without)}: better, but without a checkpoint: {trial.name} is taken",
                        file=sys.stderr,
                    )
                return trial, checkpoint
            without += [trial.name] * (number is None)
        name = self.sweep.name
        if number is None:
            raise InputError(f"no trial of sweep {name!r} has a checkpoint{self._why_none()}")
        if number in self.record.trials:
            if (trial := self.record.trials[number]).state == "failed":
                raise InputError(
                    f"trial {number} of sweep {name!r} failed: {trial.reason}; `resume --retry-failed` runs it once more"
                )
            kept = [trial.name for trial in self.kept_trials()]
            raise InputError(
                f"trial {number} of sweep {name!r} has no checkpoint: those of the best {len(kept)} are kept "
                f"({', '.join(kept)}); keep_checkpoints in the sweep file says how many"
            )
        raise InputError(f"sweep {name!r} has no trial {number}; trials: 0 to {len(self.record.trials) - 1}")

    def _why_none(self) -> str:
        why = self.record.all_failed()
        return f": {why}" if why else " yet"


def load_sweep(sweep_dir: Path) -> RecordedSweep:
    """The sweep in a directory. Raises InputError if its `sweep.json` or its journal cannot be read, or the journal is gone."""
    directory = Path(sweep_dir)
    recorded = RecordedSweep(directory, read_sweep_json(directory), journal.read(directory / "journal.jsonl"))
    if recorded.storage.path is not None:  # of one in a bucket this is a copy
        refuse_missing_journal(recorded.storage, recorded.record)
    return recorded
