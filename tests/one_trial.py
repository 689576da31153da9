"""A trial in a worker's session, without Ray, as the only member of its population."""

from __future__ import annotations

from typing import Any

from fersweep.cluster.worker.population_session import PopulationSession
from fersweep.cluster.worker.trial_report import TrialReport
from fersweep.cluster.worker.trial_session import TrialSession
from fersweep.cluster.worker.trial_settings import TrialSettings
from fersweep.data_pipeline.tasks.arrays import TaskArrays


class OneTrial:
    """What a TrialSession has, and `run`, which trains until its next report. Raises what keeps it from beginning."""

    def __init__(self, settings: TrialSettings, arrays: TaskArrays, number: int, *assigned: Any):
        self._worker, self._arrays = PopulationSession(settings), arrays
        self._worker._population = self._worker._begin(arrays)
        trial = TrialSession(settings, arrays, self._worker._population, number, *assigned)
        self._worker.trials, self._worker._since = [trial], {number: 0.0}
        self._trial: Any = trial
        self.trainable: Any = trial.trainable

    def run(self) -> TrialReport:
        (report,) = self._worker.run(self._arrays)
        return report

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)
