"""What a sweep file may say of objectives and constraints."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from fersweep.common.errors import InputError
from fersweep.search_spaces.sweep_file.consistency import refuse_contradictions, remarks
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep

TWO = [{"metric": "val_macro_f1"}, {"metric": "latency_ms"}]


def read(stop: dict[str, Any] | None = None, search: dict[str, Any] | None = None) -> Sweep:
    return parse_sweep({"name": "s", "trainable": "curve", "stop": stop or {}, "search": search or {}}, "test")


def test_metric_and_mode_are_those_of_the_first_objective() -> None:
    sweep = read({"objectives": [{"metric": "val_loss"}, {"metric": "weights", "mode": "min"}]})
    assert (sweep.stop.metric, sweep.stop.mode) == ("val_loss", "min")
    assert [objective.mode for objective in sweep.stop.objectives] == ["min", "min"]
    assert Sweep.model_validate(sweep.model_dump(mode="json")) == sweep, "as sweep.json is read again"


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ({"objectives": TWO[:1]}, "1 of them, but want 2 or 3; a single one is stop.metric and stop.mode"),
        ({"objectives": [*TWO, {"metric": "weights"}, {"metric": "train_s"}]}, "4 of them, but want 2 or 3"),
        ({"objectives": TWO[::-1]}, "the first, latency_ms, must be a score on val"),
        ({"objectives": [*TWO, TWO[1]]}, "latency_ms is there twice"),
        ({"objectives": [TWO[0], {"metric": "latency"}]}, "there is no metric 'latency'; did you mean 'latency_ms'"),
        ({"objectives": [TWO[0], {"metric": "weights", "mode": "max"}]}, "weights wants mode min, not max"),
        ({"objectives": [TWO[0], {}]}, "'stop.objectives.1.metric' is missing"),
        ({"objectives": "val_loss"}, "stop.objectives: Input should be a valid list"),
        (
            {"objectives": TWO, "metric": "val_loss"},
            "stop.metric: val_loss, but the first of stop.objectives has val_mac",
        ),
        (
            {"objectives": TWO, "mode": "min"},
            "stop.mode: min, but the first of stop.objectives has max: leave stop.mode",
        ),
        ({"objectives": TWO, "scheduler": "median"}, "stop.scheduler: median compares trials by one objective, and"),
    ],
)
def test_objectives_that_are_refused(stop: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        read(stop)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("weights = 3", "'weights = 3' is none: want a metric, <=, >=, < or >, and a number"),
        ("weights <= a few", "is none: want a metric"),
        ("weight <= 3", "there is no metric 'weight'; did you mean 'weights'"),
        ("weights <= 1.2.3", r"1\.2\.3 is no finite number"),
        ("weights <= 1e999", "1e999 is no finite number"),
        (3, "search.constraints.0: Input should be a valid string"),
    ],
)
def test_constraints_that_are_refused(constraint: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(search={"constraints": [constraint]})


@pytest.mark.parametrize(
    ("constraints", "kept"),
    [
        (["weights <= 3", "weights >= 4"], False),
        (["weights < 3", "weights >= 3"], False),
        (["weights <= 3", "weights >= 3"], True),
        (["weights <= 3", "latency_ms >= 4"], True),
        (["weights <= 3", "weights < 2"], True),
    ],
)
def test_constraints_that_leave_nothing_are_refused(constraints: list[str], kept: bool) -> None:
    sweep = read(search={"constraints": constraints})
    with nullcontext() if kept else pytest.raises(ValueError, match="no trial can keep to both 'weights <"):
        refuse_contradictions(sweep)


def test_a_sampler_that_cannot_search_so_is_refused_or_remarked() -> None:
    with pytest.raises(
        InputError, match=r"search\.sampler: cmaes searches for one objective, and stop.objectives has 2"
    ):
        read({"objectives": TWO}, {"sampler": "cmaes"})
    (line,) = [
        line for line in remarks(read(search={"sampler": "cmaes", "constraints": ["weights <= 3"]})) if "cons" in line
    ]
    assert "cmaes learns nothing from search.constraints" in line
