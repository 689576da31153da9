"""The searches that are compared, each asked for trials and told epochs: fersweep, plain Optuna, Ray Tune's parts, random.

Ray Tune's OptunaSearch and AsyncHyperBandScheduler (ASHA) are driven by hand: what Ray would do in between is no
part of what they choose. All draw from the same narrowed space.
"""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import optuna

from benchmarks.search_quality_steps.tasks import METRIC, Task
from fersweep.cluster.search.decisions import Search
from fersweep.results.record.journal import Journal
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import sample_space

optuna.logging.set_verbosity(optuna.logging.ERROR)
MOST_TRIALS = 2000
GRACE, REDUCTION = 3, 3


class Asked(SimpleNamespace):
    """number: of the trial; hparams; params: as drawn."""

    number: int
    hparams: dict[str, Any]
    params: dict[str, Any]


class Searching(Protocol):
    def ask(self) -> Asked: ...

    def report(self, number: int, epoch: int, value: float, last: bool) -> bool:
        """Whether the trial ends here; `last`: it has trained all its epochs."""
        ...


def sweep_of(
    task: Task,
    seed: int,
    sampler: str = "tpe",
    scheduler: str = "asha",
    search: dict[str, Any] | None = None,
    **stop: Any,
) -> Sweep:
    """`search`, `stop`: what differs from the rest of this file in those parts of the sweep file."""
    content: dict[str, Any] = {
        "name": "quality",
        **task.sweep,
        "search": {"sampler": sampler, "num_trials": MOST_TRIALS, "seed": seed, **(search or {})},
        "stop": {"metric": METRIC, "scheduler": scheduler, "grace_epochs": GRACE, "reduction": REDUCTION, **stop},
    }
    content["stop"]["max_epochs"] = task.max_epochs
    return parse_sweep(content, "search_quality.py")


class Fersweep:
    def __init__(self, task: Task, seed: int, scratch: Path, sampler: str, scheduler: str):
        self._search = Search(sweep_of(task, seed, sampler, scheduler), Journal(scratch / "journal.jsonl"))

    def ask(self) -> Asked:
        assignment = self._search.next()
        assert assignment is not None
        params = self._search.record.trials[assignment.trial].params
        return Asked(number=assignment.trial, hparams=assignment.hparams, params=params)

    def report(self, number: int, epoch: int, value: float, last: bool) -> bool:
        row = {"epoch": epoch, METRIC: value, "epoch_s": 1.0}
        return self._search.report(number, [row], "finished" if last else "running")


class PlainOptuna:
    """As its tutorials show it: a study with its default sampler, and a pruner."""

    def __init__(self, task: Task, seed: int, pruner: optuna.pruners.BasePruner):
        self._sweep = sweep_of(task, seed)
        self._study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner
        )
        self._trials: dict[int, optuna.Trial] = {}
        self._last: dict[int, float] = {}

    def ask(self) -> Asked:
        trial = self._study.ask()
        self._trials[trial.number] = trial
        hparams = sample_space(self._sweep, trial)
        return Asked(number=trial.number, hparams=hparams, params=trial.params)

    def report(self, number: int, epoch: int, value: float, last: bool) -> bool:
        trial = self._trials[number]
        trial.report(value, epoch)
        self._last[number] = max(value, self._last.get(number, value))
        if last:
            self._study.tell(trial, self._last[number])
        elif trial.should_prune():
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return True
        return last


class RayTune:
    """OptunaSearch (define by run) with ASHAScheduler, both as Tune would call them."""

    def __init__(self, task: Task, seed: int):
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        logging.getLogger("ray").setLevel(logging.ERROR)
        self._sweep = sweep_of(task, seed)
        self._drawn: dict[str, Any] = {}

        def space(trial: Any) -> None:
            self._drawn["hparams"] = sample_space(self._sweep, trial)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._search = OptunaSearch(space, metric=METRIC, mode="max", sampler=optuna.samplers.TPESampler(seed=seed))
        self._scheduler = ASHAScheduler(
            metric=METRIC, mode="max", grace_period=GRACE, reduction_factor=REDUCTION, max_t=task.max_epochs
        )
        self._number, self._results = -1, dict[int, dict[str, Any]]()

    def ask(self) -> Asked:
        self._number += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            params = self._search.suggest(str(self._number)) or {}
        self._scheduler.on_trial_add(None, _tune_trial(self._number))
        return Asked(number=self._number, hparams=self._drawn["hparams"], params=params)

    def report(self, number: int, epoch: int, value: float, last: bool) -> bool:
        trial = _tune_trial(number)
        result = {"training_iteration": epoch, METRIC: value}
        self._search.on_trial_result(str(number), result)
        stops = self._scheduler.on_trial_result(None, trial, result) == "STOP"
        if stops or last:
            self._scheduler.on_trial_complete(None, trial, result)
            self._search.on_trial_complete(str(number), result)
        return stops or last


def _tune_trial(number: int) -> Any:
    return SimpleNamespace(trial_id=str(number))
