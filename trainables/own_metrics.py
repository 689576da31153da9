"""Metrics of people's own: a function of a file, of a module, or an entry point of the group `fersweep.metrics`.

    stop: {metric: "my_metrics.py:cost", mode: min}       # in a sweep file

    def cost(y, probabilities, classes):                  # in my_metrics.py → a number
        ...

y (N,) are the class indices of val's faces, int64, and probabilities (N, C) a model's answers, float64: copies, which are the
function's. `classes`, the C names, is given where it has a parameter of this name. An epoch's row has its value as `val_cost`.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.own_code.code import asked_as, split_part
from fersweep.common.own_code.importing import place_of, said, where
from fersweep.common.own_code.named import check_runs, part_of, resolve_part
from fersweep.common.own_code.separate import TooLong, time_limit
from fersweep.common.text import one_line
from fersweep.trainables.metrics import EpochMetrics, fold_metric, is_fold_metric
from fersweep.trainables.protocol import METRICS, TrialFailed

if TYPE_CHECKING:
    from fersweep.data_pipeline.tasks.arrays import TaskArrays

GROUP = "fersweep.metrics"
WHAT = "stop.metric"
LIMIT_S = 60.0  # for one metric of an epoch of a trial; before a sweep it gets less (metric_trial.py)
LONGEST = 60  # characters of a function's name
TAKEN = {*METRICS, *(name.replace("val_", "val_tta_") for name in METRICS)}


def is_asked(metric: str) -> bool:
    """Whether a sweep file that says this means a metric of somebody's own."""
    named = ":" in metric or "/" in metric or metric.partition("@")[0].endswith(".py")
    return named or any(entry.name == metric for entry in entry_points(group=GROUP))


def resolve(asked: str, what: str = WHAT, beside: Path | None = None) -> str:
    """`my_metrics.py:cost` → `my_metrics.py@3f2a9c81d0e4:cost`, see resolve_part. Raises InputError."""
    name = resolve_part(asked, what, GROUP, "FUNCTION", beside)
    function = split_part(name)[1]
    if column(name) in TAKEN or is_fold_metric(column(name)):
        raise InputError(f"{what}: {asked} would be called {column(name)}, as one of ours is: give it another name")
    if len(function) > LONGEST:
        raise InputError(f"{what}: {one_line(asked, 80)}: a name of more than {LONGEST} characters fits no table")
    return name


def column(name: str) -> str:
    """What an epoch's row calls it: `my_metrics.py@3f2a9c81d0e4:cost` → `val_cost`."""
    return f"val_{split_part(name)[1]}"


def shown(name: str) -> str:
    """As people call it: `my_metrics.py:cost`."""
    code, function = split_part(name)
    return f"{asked_as(code)}:{function}"


@dataclass(frozen=True)
class OwnMetric:
    """A metric that can be computed."""

    name: str
    function: Callable[..., Any]
    wants_classes: bool

    def value(self, y: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> float:
        """Of answers. Raises TrialFailed, naming file and line, where it raises, exits, or returns what is no finite number."""
        more = {"classes": list(classes)} if self.wants_classes else {}
        try:
            value = self.function(y.astype(np.int64), probabilities.astype(np.float64), **more)
        except (Exception, SystemExit) as error:
            raise TrialFailed(f"{column(self.name)}: {said(error)}") from error
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            kind = "None" if value is None else f"a {type(value).__name__}"
            raise TrialFailed(f"{column(self.name)} is {kind}, and no number{place_of(self.function)}")
        try:
            number = float(value)
        except OverflowError:
            raise TrialFailed(f"{column(self.name)} is larger than a float can be{place_of(self.function)}") from None
        if not math.isfinite(number):
            raise TrialFailed(f"{column(self.name)} is {number}{place_of(self.function)}")
        return number


def load(name: str) -> OwnMetric:
    """The metric of this name, whose code is run. Raises InputError where it is no function of two or three parameters."""
    function = part_of(name, WHAT)
    if inspect.isclass(function) or not callable(function):
        kind = "a class" if inspect.isclass(function) else f"a {type(function).__name__}"
        raise InputError(f"{WHAT}: {shown(name)} is {kind}{place_of(function)}: want a function (y, probabilities)")
    check_runs(function, f"{WHAT}: {shown(name)}")
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a function in C
        return OwnMetric(name, function, wants_classes=False)
    wants_classes = "classes" in parameters
    try:
        inspect.signature(function).bind(None, None, **({"classes": None} if wants_classes else {}))
    except TypeError as error:
        raise InputError(
            f"{WHAT}: {shown(name)}({', '.join(parameters)}) cannot be called with y, probabilities and, where it has that "
            f"parameter, classes{place_of(function)}: {error}"
        ) from None
    return OwnMetric(name, function, wants_classes)


def of_epoch(metrics: Sequence[OwnMetric], arrays: TaskArrays, probabilities: np.ndarray) -> EpochMetrics:
    """Their values by column, of a model's answers on val, (N, C); with folds the means of the folds', and each fold's own.

    Raises TrialFailed, also where one takes longer than LIMIT_S. In the main thread.
    """
    row: EpochMetrics = {}
    for metric in metrics:
        name, y = column(metric.name), arrays.val.y
        try:
            with time_limit(LIMIT_S):
                values = [metric.value(y[fold.val], probabilities[fold.val], arrays.classes) for fold in arrays.folds]
                value = float(np.mean(values)) if values else metric.value(y, probabilities, arrays.classes)
        except TooLong as error:
            raise TrialFailed(f"{name}: {error} for an epoch{where(error)}") from None
        row |= {fold_metric(name, number): each for number, each in enumerate(values)}
        row[name] = value
    return row
