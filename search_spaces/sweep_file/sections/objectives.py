"""What a sweep optimises, and what its trials must keep to.

stop.objectives:    [{metric: val_macro_f1, mode: max}, {metric: latency_ms, mode: min}]
search.constraints: ["latency_ms <= 5", "weights <= 2e6"]

A metric is a score on val, at the trial's best epoch by the first objective, or a cost of the model. Costs:

    latency_ms        of `predict` for one face on one thread; cluster/worker/costs.py measures it
    weights           numbers that a model has learned, or keeps otherwise, to answer with
    checkpoint_bytes  of the trial's first checkpoint
    train_s           seconds of training up to the best epoch
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal, NamedTuple, Self, cast

from pydantic import model_validator

from fersweep.common.errors import hint
from fersweep.search_spaces.sweep_file.sections.part import Part

Mode = Literal["max", "min"]
VAL_METRICS: dict[str, Mode] = {
    "val_macro_f1": "max",
    "val_balanced_accuracy": "max",
    "val_accuracy": "max",
    "val_loss": "min",
}
MEASURED = ("latency_ms", "weights", "checkpoint_bytes")  # once a trial; they do not change while it trains
COSTS: dict[str, Mode] = dict.fromkeys((*MEASURED, "train_s"), "min")
MODES: dict[str, Mode] = {**VAL_METRICS, **COSTS}
FEWEST, MOST = 2, 3  # objectives
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
FORM = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


class Objective(Part):
    """mode: as is natural for the metric where it is left out."""

    metric: str
    mode: Mode

    @model_validator(mode="before")
    @classmethod
    def _natural_mode(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        content = cast("dict[str, Any]", value)
        if not isinstance(metric := content.get("metric"), str):
            return content
        if metric in MODES:
            return {"mode": MODES[metric], **content}
        if not metric.startswith("val_"):
            raise ValueError(f"stop.objectives: {no_metric(metric, MODES)}")
        if content.get("mode") is None:
            raise ValueError(f"stop.objectives: {no_metric(metric, MODES)}; one of your own wants its mode beside it")
        return content

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.mode != MODES.get(self.metric, self.mode):
            raise ValueError(f"stop.objectives: {self.metric} wants mode {MODES[self.metric]}, not {self.mode}")
        return self


def no_metric(metric: str, known: Iterable[str]) -> str:
    """`there is no metric 'val_f1'; did you mean 'val_macro_f1'?`"""
    return f"there is no metric {metric!r}; {hint(metric, list(known), 'metrics')}"


def check_objectives(objectives: Sequence[Objective], own: Collection[str] = ()) -> None:
    """Raises ValueError where they are none, or not what a sweep can be searched for. own: columns of people's own metrics."""
    names = [objective.metric for objective in objectives]
    if not names:
        return
    if not FEWEST <= len(names) <= MOST:
        raise ValueError(
            f"stop.objectives: {len(names)} of them, but want {FEWEST} or {MOST}; a single one is stop.metric and stop.mode"
        )
    for name in names:
        if name not in MODES and name not in own:
            raise ValueError(f"stop.objectives: {no_metric(name, [*MODES, *own])}")
        if names.count(name) > 1:
            raise ValueError(f"stop.objectives: {name} is there twice")
    if names[0] not in VAL_METRICS and names[0] not in own:
        raise ValueError(
            f"stop.objectives: the first, {names[0]}, must be a score on val, as a trial's best epoch by it is the one that is "
            f"kept: want one of {', '.join(VAL_METRICS)} first"
        )


def first_objective(content: dict[str, Any]) -> dict[str, Any]:
    """`stop` as it is in a sweep file → with the first objective's metric and mode as its own. Raises ValueError where they are
    given differently.
    """
    objectives = content.get("objectives")
    first: Any = cast("list[Any]", objectives)[0] if isinstance(objectives, list) and objectives else None
    metric: Any = (
        cast("dict[str, Any]", first).get("metric") if isinstance(first, dict) else getattr(first, "metric", None)
    )
    mode: Any = cast("dict[str, Any]", first).get("mode") if isinstance(first, dict) else getattr(first, "mode", None)
    mode = VAL_METRICS.get(metric, mode) if isinstance(metric, str) else None
    if not isinstance(metric, str) or not metric.startswith("val_") or mode is None:  # which is refused for itself
        return content
    wanted = {"metric": metric, "mode": mode}
    for key, value in wanted.items():
        if content.get(key, value) != value:
            raise ValueError(
                f"stop.{key}: {content[key]}, but the first of stop.objectives has {value}: leave stop.{key} out"
            )
    return {**content, **wanted}


class Constraint(NamedTuple):
    """What a trial's metric must be, e.g. `latency_ms <= 5`."""

    metric: str
    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.limit:.12g}"

    def holds(self, value: float) -> bool:
        return OPERATORS[self.sign](value, self.limit)

    def violation(self, value: float) -> float:
        """How far a value is beyond the limit, as a share of the limit; 0 or less: not at all. NaN, not known, is endlessly far."""
        if math.isnan(value):
            return math.inf
        beyond = value - self.limit if "<" in self.sign else self.limit - value
        if beyond == 0 and not self.holds(value):
            beyond = math.ulp(self.limit)
        return beyond / abs(self.limit or 1.0)

    @property
    def is_final(self) -> bool:
        """Whether a trial that does not keep to it at a report never will."""
        return self.metric in MEASURED or (self.metric == "train_s" and "<" in self.sign)


def refuse_what_none_keeps(constraints: Sequence[Constraint]) -> None:
    """ValueError where two of them leave no value."""
    for upper in (each for each in constraints if "<" in each.sign):
        for lower in (each for each in constraints if ">" in each.sign and each.metric == upper.metric):
            if lower.limit > upper.limit or not (upper.holds(lower.limit) and lower.holds(upper.limit)):
                raise ValueError(f"search.constraints: no trial can keep to both '{upper}' and '{lower}'")


def parse_constraint(text: str) -> Constraint:
    """`latency_ms <= 5` → its parts. Raises ValueError."""
    parts = FORM.fullmatch(text)
    if parts is None:
        raise ValueError(
            f'search.constraints: {text!r} is none: want a metric, <=, >=, < or >, and a number: "latency_ms <= 5"'
        )
    metric, sign, number = parts.groups()
    if metric not in MODES:
        raise ValueError(
            f"search.constraints: {text!r}: there is no metric {metric!r}; {hint(metric, list(MODES), 'metrics')}"
        )
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise ValueError(f"search.constraints: {text!r}: {number} is no finite number")
    return Constraint(metric, sign, limit)
