"""The two places where Ray Tune asks: which trial is next (a Searcher), and does this one go on (a scheduler).

Both only pass the question on to cluster/search.py.
"""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from cluster.search import Search


class SearchAdapter(Searcher):
    """Hands out the assignments of a Search as Tune configs."""

    def __init__(self, search: Search):
        super().__init__()  # the metric stays in the search: Tune would want it flat in every result
        self._search = search

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        assignment = self._search.next()
        return Searcher.FINISHED if assignment is None else vars(assignment).copy()  # type: ignore[return-value]

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Nothing: the journal has it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


class SchedulerAdapter(FIFOScheduler):
    """Records every report and ends a trial where the Search says so."""

    def __init__(self, search: Search):
        super().__init__()
        self._search = search

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        ended = self._search.report(trial.config["trial"], result["epochs"], result["status"], result["reason"])
        return TrialScheduler.STOP if ended else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        error = trial.get_error()
        lines = str(error).strip().splitlines() or ["worker lost"]
        self._search.report(trial.config["trial"], [], "failed", f"{type(error).__name__}: {lines[-1]}")
