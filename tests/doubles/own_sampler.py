"""A sampler as somebody may write one for `search.sampler: FILE.py:CLASS`: steps around the best point, ever shorter ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna


class Stepping(optuna.samplers.BaseSampler):
    """Keeps the best point and how many trials have ended in attributes of the study, and each trial's step in its own."""

    def __init__(self, width: float = 0.3, seed: int | None = None):
        self._width, self._rng = width, np.random.default_rng(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: optuna.Study, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, param_name: str, param_distribution: Any
    ) -> float:
        low, high = param_distribution.low, param_distribution.high
        best, ended = study.user_attrs.get("best", {}), study.user_attrs.get("ended", [])
        step = self._width * self._rng.uniform(-1, 1) * (high - low) / (1 + len(ended))
        study._storage.set_trial_system_attr(trial._trial_id, f"step:{param_name}", step)
        return float(np.clip(best.get(param_name, (low + high) / 2) + step, low, high))

    def after_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, state: Any, values: Any) -> None:
        study.set_user_attr("ended", [*study.user_attrs.get("ended", []), trial.number])
        if values and values[0] > study.user_attrs.get("value", -np.inf):
            study.set_user_attr("value", values[0])
            study.set_user_attr("best", trial.params)


class Hoarding(Stepping):
    """Keeps what is no JSON."""

    def after_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, state: Any, values: Any) -> None:
        study.set_user_attr("rng", self._rng)


class NoSampler:
    pass
