"""What the sections of a sweep's report are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fersweep.common.display.page import escape
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.ranking.progress import progress
from fersweep.results.record.recorded_sweep import RecordedSweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.record.timeline import Timeline

MAX_RUNGS = 12  # that are shown whatever happened there


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
    def rungs(self) -> Sequence[float]:
        """Epochs (or seconds of training, as the sweep counts) at which its scheduler compares trials."""
        return self.sweep.asked.stop.rungs()

    def come(self, trial: TrialRecord) -> np.ndarray:
        """How far the trial had come by the end of each epoch, float32, in the unit of the rungs."""
        return np.array(progress(trial, self.sweep.asked.stop.unit), np.float32)

    @property
    def unit(self) -> str:
        """That unit, as the title of an axis."""
        return "epoch" if self.sweep.asked.stop.unit == "epochs" else "seconds of training"

    @property
    def time_unit(self) -> tuple[float, str]:
        """The unit of the axes of active time: its length in seconds, and its name."""
        seconds = self.timeline.active_s
        return (1.0, "seconds") if seconds < 180 else (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")

    def values(self, trial: TrialRecord) -> np.ndarray:
        """The metric of each epoch, float32; NaN where it has none."""
        return np.array([row.get(self.metric, np.nan) for row in trial.epochs], np.float32)

    def hover(self, state: str, trials: Sequence[TrialRecord]) -> dict[str, Any]:
        """What a trace with a marker for each of these trials, all of one state, says of the one under the mouse:
        `customdata` and `hovertemplate`. Numbers, as text would be most of the page.
        """
        rows: list[list[float]] = []
        for trial in trials:
            best = self.recorded.best(trial)
            at = (np.nan, 0) if best is None else (best[self.metric], best["epoch"])
            rows.append([trial.number, trial.num_epochs, *at])
        hover: dict[str, Any] = {
            "customdata": np.array(rows, np.float32),
            "hovertemplate": f"trial %{{customdata[0]:04d}}%{{text}}: {state} after %{{customdata[1]}} epochs<br>"
            "%{customdata[2]:.4f} at epoch %{customdata[3]}<extra></extra>",
            "text": [f", point {escape(trial.point)}" if trial.point else "" for trial in trials],
        }
        if not any(hover["text"]):
            hover["hovertemplate"] = hover["hovertemplate"].replace("%{text}", "")
            del hover["text"]
        return hover
