"""Metrics of people's own in a sweep file: `stop.metric: my_metrics.py:cost` is read as `metric: val_cost`, the column of an
epoch's row, and `metrics: [my_metrics.py@3f2a9c81d0e4:cost]`, the code that computes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from fersweep.common.own_code.code import is_own_part
from fersweep.search_spaces.sweep_file.sections.objectives import VAL_METRICS
from fersweep.trainables.own_metrics import column, is_asked, resolve, shown

LESS_IS_BETTER = re.compile(r"loss|cost|error|err|risk|regret|distance|brier|ece|nll|entropy|penalty|mistakes?")


def resolve_metrics(stop: dict[str, Any], beside: Path | None) -> None:
    """Name in `stop`, of a sweep file's content, the metrics that are somebody's own. Raises InputError."""
    named: list[str] = []

    def read(asked: Any, key: str) -> Any:
        """Its column; what is no own metric, as it is."""
        if not isinstance(asked, str) or not is_asked(asked):
            return asked
        named.append(resolve(asked, key, beside))
        return column(named[-1])

    metrics = stop.get("metrics")
    if isinstance(metrics, list):
        for asked in cast("list[Any]", metrics):
            if isinstance(asked, str):
                named.append(resolve(asked, "stop.metrics", beside))
        if len(named) < len(cast("list[Any]", metrics)):
            return  # which is refused for itself
    if "metric" in stop:
        stop["metric"] = read(stop["metric"], "stop.metric")
    objectives: Any = stop.get("objectives")
    for objective in cast("list[Any]", objectives) if isinstance(objectives, list) else ():
        if isinstance(objective, dict) and "metric" in objective:
            objective["metric"] = read(cast("dict[str, Any]", objective)["metric"], "stop.objectives")
    budget: Any = stop.get("sweep")
    target: Any = cast("dict[str, Any]", budget).get("target") if isinstance(budget, dict) else None
    if isinstance(target, dict):
        values = cast("dict[Any, Any]", target)
        budget["target"] = {read(name, "stop.sweep.target"): value for name, value in values.items()}
    if named:
        stop["metrics"] = list(dict.fromkeys(named))


def check(metrics: Iterable[str]) -> None:
    """Raises ValueError where one is not named with its code's digits, or two have one column."""
    taken: dict[str, str] = {}
    for name in metrics:
        if not is_own_part(name):
            raise ValueError(f"stop.metrics: {name!r} is no metric of your own: want FILE.py:FUNCTION")
        other = taken.setdefault(column(name), name)
        if other != name:
            raise ValueError(f"stop.metrics: {other} and {name} would both be {column(name)}: give one another name")


def columns(metrics: Iterable[str]) -> dict[str, str]:
    """column → name with its digits."""
    return {column(name): name for name in metrics}


def refuse_missing_mode(stop: dict[str, Any]) -> None:
    """ValueError where trials are ranked by somebody's own metric, and nothing says which values are good."""
    metric, metrics = stop.get("metric"), stop.get("metrics")
    if not isinstance(metric, str) or metric in VAL_METRICS or stop.get("mode") is not None:
        return
    names = [name for name in cast("list[Any]", metrics) if is_own_part(name)] if isinstance(metrics, list) else []
    if (name := columns(names).get(metric)) is not None:
        likely = "min" if LESS_IS_BETTER.search(metric.lower()) else "max"
        raise ValueError(
            f"stop.mode is missing: want max or min, as more or less of {shown(name)} is better (by its name: mode: {likely})"
        )
