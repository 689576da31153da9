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
from fersweep.results.record.home import refuse_missing_journal, retry_options
from fersweep.results.record.journal import Row, SweepRecord, TrialRecord
from fersweep.results.record.ranking.finalists import Final, final
from fersweep.results.record.ranking.front import Front, front_of
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
        return self.record.ranked(self.sweep.order)

    def front(self) -> Front | None:
        """The trials that no other beats in all objectives; None: of one objective, or there is none yet."""
        return front_of(self.record, self.sweep.order)

    def pick(self, wanted: str) -> int:
        """Number of the front's `knee`, or of its best trial in an objective. Raises InputError where there is no such one."""
        if not self.sweep.order.objectives:
            raise InputError(
                f"--pick {wanted}: sweep {self.sweep.name!r} has one objective, {self.sweep.metric}, so its best trial is taken "
                "anyway: leave --pick out"
            )
        if (front := self.front()) is None:
            raise InputError(f"--pick {wanted}: sweep {self.sweep.name!r} has no front: {self._why_no_front()}")
        return front.pick(wanted).number

    def _why_no_front(self) -> str:
        first = next(iter(self.ranked()), None)
        if first is None:
            return f"no trial has a value{self._why_none()}"
        return f"no trial keeps to search.constraints; of trial {first.name}: {self.sweep.order.infeasible(first)}"

    def kept_trials(self) -> list[TrialRecord]:
        """The ended trials whose best checkpoint is kept: the best `keep_checkpoints` of the search, its whole front, and all
        repeats of finalists.
        """
        best = self.record.kept(self.sweep.order, self.sweep.asked.keep_checkpoints)
        return [*best, *self.record.ended_repeats()]

    @property
    def final(self) -> Final | None:
        """What the finalists came to; None where there are none."""
        return final(self.record, self.sweep.asked)

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
        """The trial asked for, else the median run of the finalist that won, else the best of the search that has a
        checkpoint, and that checkpoint. InputError if there is none.
        """
        without: list[str] = []
        for trial in self._in_order(number):
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
                    f"trial {number} of sweep {name!r} failed: {trial.reason}; `resume "
                    f"{retry_options(self.sweep.asked.trainable)}` runs it once more"
                )
            kept = [trial.name for trial in self.kept_trials() if trial.repeat_of is None]
            raise InputError(
                f"trial {number} of sweep {name!r} has no checkpoint: those of the best {len(kept)} are kept "
                f"({', '.join(kept)}); keep_checkpoints in the sweep file says how many"
            )
        raise InputError(f"sweep {name!r} has no trial {number}; trials: 0 to {len(self.record.trials) - 1}")

    def _in_order(self, number: int | None) -> list[TrialRecord]:
        """The trials that may be chosen, the first first; stderr hears why that is not the search's best."""
        if number is not None:
            trial = self.record.trials.get(number)
            return [trial] if trial and trial.state != "failed" else []
        final, repeats = self.final, list[TrialRecord]()
        if final is not None and final.winner is not None:
            numbers = final.winner.typical_first
            repeats = [self.record.trials[repeat] for repeat in numbers]
            print(f"note: {final.choice}", file=sys.stderr)
        elif final is not None and final.ended < final.asked:
            print(
                f"note: finalists: {final.progress} repeats have ended, so none has won yet: the search's best is taken",
                file=sys.stderr,
            )
        elif final is not None:
            print("note: finalists: all repeats failed: the search's best is taken", file=sys.stderr)
        return [*repeats, *self.ranked()]

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
