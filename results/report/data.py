"""What the sections of a sweep's report are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fersweep.common.display.page import escape
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.sweep_json import objective
from fersweep.results.record.timeline import Timeline
from fersweep.search_spaces.sweep_file.schema import rungs


@dataclass(frozen=True)
class ReportData:
    """What the sections are of. `baselines`: name → value of the sweep's metric on val."""

    sweep: dict[str, Any]
    record: SweepRecord
    course: Timeline
    baselines: dict[str, float]

    @property
    def metric(self) -> str:
        return objective(self.sweep)[0]

    @property
    def mode(self) -> str:
        return objective(self.sweep)[1]

    @property
    def ranked(self) -> list[TrialRecord]:
        return self.record.ranked(self.metric, self.mode)

    @property
    def rungs(self) -> list[int]:
        """Epochs at which ASHA compares trials."""
        stop = self.sweep["sweep"]["stop"]
        if stop["scheduler"] != "asha":
            return []
        return rungs(stop["grace_epochs"], stop["reduction"], stop["max_epochs"])

    @property
    def time_unit(self) -> tuple[float, str]:
        """The unit, in seconds, that the sweep's active time is drawn in, and its name."""
        seconds = self.course.active_s
        return (1.0, "seconds") if seconds < 180 else (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")

    def values(self, trial: TrialRecord) -> np.ndarray:
        """The metric of each epoch, float32; NaN where it has none."""
        return np.array([row.get(self.metric, np.nan) for row in trial.epochs], np.float32)

    def label(self, trial: TrialRecord) -> str:
        """A trial in a few words, as HTML."""
        best = trial.best(self.metric, self.mode)
        value = "no value" if best is None else f"{best[self.metric]:.4f} at epoch {best['epoch']:.0f}"
        point = f", point {escape(trial.point)}" if trial.point else ""
        reason = f"<br>{escape(trial.reason)}" if trial.reason else ""
        return f"trial {trial.name}{point}: {trial.state} after {trial.num_epochs} epochs<br>{value}{reason}"
