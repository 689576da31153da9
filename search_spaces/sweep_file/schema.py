"""The schema of a sweep file.

name: lstm-3class
task:      {features: blendshapes, classes: {happy: [happy], sad: [sad], neutral: [neutral]}, fraction: 1.0}
trainable: blendshape_lstm
space:     {fix: {optimizer: adam}, range: {learning_rate: [1e-5, 1e-2]}}
search:    {sampler: tpe, sampler_options: {group: true}, num_trials: 64, seed: 7, start_from: [seed_paper, {sweep: lstm-small, best: 4}]}
stop:      {metric: val_macro_f1, mode: max, scheduler: asha, grace_epochs: 5, max_epochs: 200, reduction: 3}
           # and sweep: {hours: 2, epochs: 5000, no_better_in: 50, target: {val_macro_f1: 0.75}}: when the search ends
finalists: null                                  # or {best: 5, seeds: 5, by: mean}: the best points with other seeds
distil:    null                                  # or {from: champion, weight: 1.0, temperature: 1.0}: learn a model's answers
then:      null                                  # or {best: 4, fraction: 1.0, max_epochs: null}: a second sweep
resources: {cpus: 1, gpus: 0, accelerator: null, fuse: auto}  # of a worker: gpus is 1 or a share of one; accelerator: e.g. A100
tracking:  {uri: null, experiment: null}
failures:  {max_retries: 2, max_failed_share: 0.5}
keep_checkpoints: 5
storage:   null
notify:    null                                  # or {url: "${NAME}", on: [start, best, failure, end]}: a webhook
callbacks: []                                    # or [my_callbacks.py:CLASS, {class: …, options: {…}}]: your code hears of it
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, cast

from pydantic import Field, ValidationInfo, field_validator, model_validator

from fersweep.common.own_code.code import split_part
from fersweep.data_pipeline.tasks.spec import Fold, TaskSpec
from fersweep.search_spaces.sweep_file.sections import own_metrics
from fersweep.search_spaces.sweep_file.sections.budget import Budget
from fersweep.search_spaces.sweep_file.sections.callbacks import MOST, Callback, as_list
from fersweep.search_spaces.sweep_file.sections.distil import Distil
from fersweep.search_spaces.sweep_file.sections.finalists import Finalists
from fersweep.search_spaces.sweep_file.sections.notify import Notify
from fersweep.search_spaces.sweep_file.sections.objectives import (
    VAL_METRICS,
    Objective,
    check_objectives,
    first_objective,
    no_metric,
)
from fersweep.search_spaces.sweep_file.sections.part import Part, filled_in
from fersweep.search_spaces.sweep_file.sections.schedulers import SCHEDULERS, Scheduler
from fersweep.search_spaces.sweep_file.sections.search import Older, Search

MAX_NAME = 80  # characters of a sweep's name


class Space(Part):
    """fix: parameter → value; range: parameter → [low, high] or the list of choices."""

    fix: dict[str, Any] = Field(default_factory=dict)
    range: dict[str, list[Any]] = Field(default_factory=dict)


class Stop(Part):
    """ASHA compares trials at grace_epochs · reduction^k; where `unit` is seconds, at grace_s · reduction^k seconds of
    training, of which a trial gets at most `max_s`. `report_s` is the least training time between two reports;
    a trial that reports nothing for `timeout_s` (null: no limit) hangs, and fails. objectives: two or three; `metric` and
    `mode` are those of the first. metrics: people's own, computed at each epoch, under names such as `val_cost`, which metric and
    objectives may have (`stop.metric: my_metrics.py:cost` is read as both).
    """

    metric: str = "val_macro_f1"
    metrics: list[str] = Field(default_factory=list)
    mode: Literal["max", "min"] = "max"
    objectives: list[Objective] = Field(default_factory=list)
    scheduler: str = "asha"
    scheduler_options: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    unit: Literal["epochs", "seconds"] = "epochs"
    grace_epochs: int | None = Field(5, ge=1)
    max_epochs: int = Field(100, ge=1)
    grace_s: float | None = Field(None, gt=0)
    max_s: float | None = Field(None, gt=0)
    reduction: int = Field(3, ge=2)
    report_s: float = Field(1.0, ge=0)
    timeout_s: float | None = Field(3600.0, gt=0)
    sweep: Budget | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_the_first_objective(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        content = first_objective(cast("dict[str, Any]", value))
        own_metrics.refuse_missing_mode(content)
        return content

    @field_validator("metrics")
    @classmethod
    def _are_own(cls, value: list[str]) -> list[str]:
        own_metrics.check(value)
        return value

    @field_validator("scheduler_options")
    @classmethod
    def _all_options(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("scheduler")
        return value if name is None else filled_in("stop.scheduler", name, SCHEDULERS, value)

    @model_validator(mode="before")
    @classmethod
    def _no_epochs_among_seconds(cls, content: Any) -> Any:
        asked: Any = {"grace_epochs": None}
        if isinstance(content, dict) and cast("dict[str, Any]", content).get("unit") == "seconds":
            return asked | content
        return cast("Any", content)

    @model_validator(mode="after")
    def _check(self) -> Stop:
        own = own_metrics.columns(self.metrics)
        if self.metric not in VAL_METRICS and self.metric not in own:
            raise ValueError(
                f"stop.metric: {no_metric(self.metric, [*VAL_METRICS, *own])}; one of your own is named FILE.py:FUNCTION"
            )
        check_objectives(self.objectives, own)
        if self.objectives and not SCHEDULERS[self.scheduler].SEVERAL_OBJECTIVES:
            able = " or ".join(name for name, options in SCHEDULERS.items() if options.SEVERAL_OBJECTIVES)
            raise ValueError(
                f"stop.scheduler: {self.scheduler} compares trials by one objective, and stop.objectives has "
                f"{len(self.objectives)}: want {able}"
            )
        if self.mode != VAL_METRICS.get(self.metric, self.mode):
            raise ValueError(
                f"stop.mode: {self.metric} wants mode {'min' if self.metric == 'val_loss' else 'max'}, not {self.mode}"
            )
        self._check_unit()
        options = self._options().settled(self.grace, self.reduction, self.end)
        self.scheduler_options.update(options.model_dump(mode="json"))
        if self.sweep is not None:
            self.sweep.refuse_other_metrics(self.metric)
        return self

    def _check_unit(self) -> None:
        if self.unit not in self._options().UNITS:
            raise ValueError(
                f"stop.unit: {self.unit}, but {self.scheduler} counts {' or '.join(self._options().UNITS)}"
            )
        other = {"grace_s": "grace_epochs", "max_s": "max_epochs"}
        if self.unit == "seconds":
            other = {"grace_epochs": "grace_s"}
        for key, wanted in other.items():
            if (value := getattr(self, key)) is not None:
                raise ValueError(
                    f"stop.{key}: {value}, but stop.unit is {self.unit}: want {key}: null, and stop.{wanted} instead"
                )
        for key in ("grace_epochs",) if self.unit == "epochs" else ("grace_s", "max_s"):
            if getattr(self, key) is None and (key == "max_s" or "grace" in self._options().USES):
                raise ValueError(f"stop.{key} is missing, as stop.unit is {self.unit}")
        inner = self.scheduler_options.get("inner_options", {})
        interval = inner.get("interval", self.scheduler_options.get("interval"))
        if self.unit == "epochs" and interval is not None and interval != int(interval):
            raise ValueError(f"stop.scheduler_options: interval {interval} must be whole, as stop.unit is epochs")

    def _options(self) -> Scheduler:
        return SCHEDULERS[self.scheduler](**self.scheduler_options)

    @property
    def grace(self) -> float:
        """In `unit`; 0 where there is none, which no scheduler reads."""
        return (self.grace_epochs if self.unit == "epochs" else self.grace_s) or 0

    @property
    def end(self) -> float:
        """Where a trial ends at the latest, in `unit`."""
        return self.max_epochs if self.max_s is None else self.max_s

    @property
    def own_metric(self) -> str | None:
        """Where `metric` is somebody's own, its name with its digits: `my_metrics.py@3f2a9c81d0e4:cost`."""
        return own_metrics.columns(self.metrics).get(self.metric)

    @property
    def metric_in_full(self) -> str:
        """What makes values of two sweeps the same kind of figure: `max val_macro_f1`, `min val_cost (my_metrics.py@3f2a9c81d0e4)`."""
        own = self.own_metric
        return f"{self.mode} {self.metric}" + (f" ({split_part(own)[0]})" if own else "")

    def rungs(self) -> Sequence[float]:
        """Epochs (or seconds) at which the scheduler compares trials, ascending; empty where it compares none."""
        return self._options().rungs(self.grace, self.reduction, self.end)

    def in_words(self) -> str:
        """What ends trials early: `ASHA compares trials at epochs 5, 15, 45`, `… at 20, 60 s of training`."""
        levels = [self.at(level) for level in self.rungs()]
        levels = [*levels[:4], "…", levels[-1]] if len(levels) > 6 else levels
        numbers = ", ".join(level.removeprefix("epoch ").removesuffix(" s") for level in levels)
        where = f"at epochs {numbers}" if self.unit == "epochs" else f"at {numbers} s of training"
        return self._options().in_words(where if levels else "")

    def at(self, level: float) -> str:
        """A rung in words: `epoch 5`, `20 s`."""
        return f"epoch {int(level)}" if self.unit == "epochs" else f"{level:.10g} s"


class Then(Part):
    """What follows the sweep: a second one, NAME-full, with the points of the `best` trials, on a `fraction` of train, for
    at most `max_epochs` (null: as many as the first), on another `fold` (null: the first's; all: on every fold, by the mean
    over them). It has no budget and no finalists; everything else is as in the first.
    """

    best: int = Field(4, ge=1)
    fraction: float = Field(1.0, gt=0, le=1)
    max_epochs: int | None = Field(None, ge=1)
    fold: Fold = None


class Resources(Part):
    """What a worker gets, which trains one trial, or several at once. gpus: 1, or a share of one GPU; accelerator: Ray's name of
    the kind of GPU, null: any. fuse: how many trials a worker trains at once; auto: as many as gain speed, one where the
    trainable trains no more.
    """

    cpus: int | float = Field(1, gt=0)
    gpus: int | float = Field(0, ge=0)
    accelerator: str | None = None
    fuse: Literal["auto"] | int = "auto"

    @field_validator("cpus", "gpus", mode="before")
    @classmethod
    def _is_a_number(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value

    @field_validator("fuse", mode="before")
    @classmethod
    def _is_a_size(cls, value: Any) -> Any:
        if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError("must be auto, or how many trials a worker trains at once: 1 or more")
        return value


class Tracking(Part):
    uri: str | None = None
    experiment: str | None = None


class Failures(Part):
    """max_retries: how often a trial whose process died or that raised an unexpected error is tried again; a lost
    machine does not count. max_failed_share: a sweep ends when more of its trials than this have failed.
    """

    max_retries: int = Field(2, ge=0)
    max_failed_share: float = Field(0.5, ge=0, le=1)


class Sweep(Part):
    name: str = Field(max_length=MAX_NAME)
    task: TaskSpec = TaskSpec()
    trainable: str
    space: Space = Space()
    search: Search = Field(default_factory=lambda: Search.model_validate({}))
    stop: Stop = Field(default_factory=lambda: Stop.model_validate({}))
    finalists: Finalists | None = None
    distil: Distil | None = None
    then: Then | None = None
    resources: Resources = Field(default_factory=lambda: Resources.model_validate({}))
    tracking: Tracking = Tracking()
    failures: Failures = Field(default_factory=lambda: Failures.model_validate({}))
    keep_checkpoints: int | None = Field(5, ge=1)
    storage: str | None = None
    notify: Notify | None = None
    callbacks: list[Callback] = Field(default_factory=list[Callback], max_length=MOST)

    @field_validator("callbacks", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return as_list(value)

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value):
            raise ValueError("may hold letters (a to z), digits, '.', '_' and '-', and begins with a letter or a digit")
        return value

    @field_validator("storage")
    @classmethod
    def _is_a_bucket(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(s3|gs|abfss?)://[^/?\s]+\S*", value):
            raise ValueError("must be a bucket's address (s3://…, gs://…); a shared path is given with --home")
        return value

    @model_validator(mode="after")
    def _check(self) -> Sweep:
        if self.finalists is not None and self.stop.scheduler == "pbt":
            raise ValueError(
                "finalists: a trial of stop.scheduler pbt is a schedule of hparams, not a point that can be run again: want "
                "another scheduler, or `promote --refit`, which repeats the schedule"
            )
        for key, part in (("finalists", self.finalists), ("then", self.then)):
            if part is not None and part.best > self.search.num_trials:
                raise ValueError(f"{key}.best: {part.best} is more than search.num_trials, {self.search.num_trials}")
        if self.following is not None:
            self.following.stop.rungs()
        if self.following is not None and len(self.following.name) > MAX_NAME:
            raise ValueError(
                f"name: {self.following.name!r}, as `then` names its sweep, is longer than {MAX_NAME} characters"
            )
        return self

    @property
    def following(self) -> Sweep | None:
        """The sweep that `then` asks for."""
        if self.then is None:
            return None
        older = Older(sweep=self.name, best=self.then.best)
        changes: dict[str, Any] = {
            "name": f"{self.name}-full",
            "task": self.task.model_copy(
                update={
                    "fraction": self.then.fraction,
                    "fold": self.task.fold if self.then.fold is None else self.then.fold,
                }
            ),
            "search": self.search.model_copy(update={"num_trials": self.then.best, "start_from": [older]}),
            "stop": self.stop.model_copy(
                update={"max_epochs": self.then.max_epochs or self.stop.max_epochs, "sweep": None}
            ),
            "finalists": None,
            "then": None,
        }
        return self.model_copy(update=changes)
