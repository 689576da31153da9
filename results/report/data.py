"""What the sections of a sweep's report are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fersweep.common.display.page import escape
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.recorded_sweep import RecordedSweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.record.timeline import Timeline


@dataclass(frozen=True)
class ReportData:
    """A sweep and how it went. `baselines`: name → value of the sweep's metric on val."""

    recorded: RecordedSweep
    timeline: Timeline
    baselines: dict[str, float]

    @property
    def sweep(self) -> SweepJson:
        return self.recorded.sweep

    @property
    def record(self) -> SweepRecord:
        return self.recorded.record

    @property
    def metric(self) -> str:
        return self.sweep.metric

    @property
    def mode(self) -> str:
        return self.sweep.mode

    @property
    def ranked(self) -> list[TrialRecord]:
        return self.recorded.ranked()

    @property
    def rungs(self) -> list[int]:
        """Epochs at which ASHA compares trials."""
        return self.sweep.asked.stop.rungs()

    @property
    def time_unit(self) -> tuple[float, str]:
        """The unit of the axes of active time: its length in seconds, and its name."""
        seconds = self.timeline.active_s
        return (1.0, "seconds") if seconds < 180 else (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")

    def values(self, trial: TrialRecord) -> np.ndarray:
        """The metric of each epoch, float32; NaN where it has none."""
        return np.array([row.get(self.metric, np.nan) for row in trial.epochs], np.float32)

    def label(self, trial: TrialRecord) -> str:
        """A trial in a few words, as HTML."""
        best = self.recorded.best(trial)
        value = "no value" if best is None else f"{best[self.metric]:.4f} at epoch {best['epoch']:.0f}"
        point = f", point {escape(trial.point)}" if trial.point else ""
        reason = f"<br>{escape(trial.reason)}" if trial.reason else ""
        return f"trial {trial.name}{point}: {trial.state} after {trial.num_epochs} epochs<br>{value}{reason}"
