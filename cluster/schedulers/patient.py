"""A trial ends that has not got better for a while, at once or only where another rule ends it, too."""

from __future__ import annotations

import math
from itertools import accumulate

from fersweep.cluster.schedulers.rule import Rule
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.ranking.progress import epochs_at, progress
from fersweep.results.record.trial_record import TrialRecord
from fersweep.search_spaces.sweep_file.schema import Stop
from fersweep.search_spaces.sweep_file.sections import schedulers


class Patient:
    """`inner`: the rule that has to agree; None: none has to.

    Without one each epoch of a report is looked at in turn, so that how many a report has changes no decision.
    """

    def __init__(self, stop: Stop, inner: Rule | None):
        self._stop, self._inner = stop, inner
        self._options = schedulers.Patient(**stop.scheduler_options)

    def judge(self, record: SweepRecord, number: int, before: int) -> str | None:
        trial, options = record.trials[number], self._options
        since = f"no better by {options.min_delta:g}" if options.min_delta else "no better"
        since += f" in {options.patience} epochs"
        if self._inner is not None:
            reason = self._inner.judge(record, number, before)
            return f"{since}, and {reason}" if reason and trial.num_epochs in self._idle(trial) else None
        epoch = next((epoch for epoch in self._idle(trial) if epoch > before), None)
        return None if epoch is None else f"{since}, at epoch {epoch}"

    def _idle(self, trial: TrialRecord) -> list[int]:
        """The epochs, from grace on, by which the trial had not got better for `patience` of them, ascending."""
        sign, options = (1 if self._stop.mode == "max" else -1), self._options
        values = (sign * value for value in trial.epochs.column(self._stop.metric))
        best = list(accumulate((value if math.isfinite(value) else -math.inf for value in values), max))
        first = epochs_at(progress(trial, self._stop.unit), self._stop.grace)
        if first is None:
            return []
        epochs = range(max(first, options.patience + 1), trial.num_epochs + 1)
        return [epoch for epoch in epochs if best[epoch - 1] <= best[epoch - 1 - options.patience] + options.min_delta]
