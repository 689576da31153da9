"""What a search has taken so far, kept event by event: what its budget (`stop.sweep`) is measured by."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from fersweep.results.record.trial_record import Event, TrialRecord


class Spent:
    """Repeats of finalists are no part of the search: neither their time nor their ends count.

    Attributes:
        seconds: that drivers were at work: between one event and the next, but not between a driver's end, or its death,
            and the start of the next one. So a clock that was set in between does not count.
        num_ends: of trials; one that was reopened counts again.
    """

    def __init__(self) -> None:
        self.seconds, self.num_ends = 0.0, 0
        self._last: float | None = None
        self._searches = True
        self._epochs: dict[int, array[int]] = {}  # trial → its epochs after each report,
        self._ends: dict[int, array[int]] = {}  # and how many trials had ended then

    def hear(self, event: Event, trial: TrialRecord | None) -> None:
        """Take in an event of the journal; `trial`: its trial, as it is after it."""
        if trial is not None:
            self._searches = trial.repeat_of is None
        starts = event["event"] == "session" and event["action"] == "started"
        if self._last is not None and self._searches and not starts:
            self.seconds += max(event["time"] - self._last, 0.0)
        self._last = event["time"]
        if trial is None or not self._searches:
            return
        if event["event"] == "report":
            epochs = self._epochs.setdefault(trial.number, array("q"))
            if trial.num_epochs > (epochs[-1] if epochs else 0):
                epochs.append(trial.num_epochs)
                self._ends.setdefault(trial.number, array("q")).append(self.num_ends)
        elif event["event"] == "ended":
            self.num_ends += 1

    def ends_since(self, best: TrialRecord | None, epoch: int) -> int:
        """How many other trials have ended since `best` reported this epoch of its; None: since the beginning."""
        if best is None or best.number not in self._epochs:
            return self.num_ends
        report = bisect_left(self._epochs[best.number], epoch)
        return self.num_ends - self._ends[best.number][report] - (best.state != "running")
