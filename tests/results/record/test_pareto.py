"""Fronts, crowding, hypervolume and knees, against what takes longer but is plain; the ranking, kept level event by event."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from fersweep.results.record.events import parse_event
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.ranking import pareto
from fersweep.results.record.ranking.front import front_of
from fersweep.results.record.ranking.order import Order, costs_of
from fersweep.search_spaces.sweep_file.sections.objectives import parse_constraint

MODES = (["max", "min"], ["max", "min", "min"], ["min", "max", "max"])


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def ranks_one_by_one(loss: np.ndarray) -> list[int]:
    ranks, left, rank = [0] * len(loss), set(range(len(loss))), 0
    while left:
        front = {i for i in left if not any(dominates(loss[j], loss[i]) for j in left)}
        for i in front:
            ranks[i] = rank
        left, rank = left - front, rank + 1
    return ranks


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("levels", [3, 8, 1000])
def test_ranks_are_those_of_peeling_front_after_front(modes: list[str], levels: int) -> None:
    rng = np.random.default_rng(levels)
    for num in (0, 1, 2, 60):
        values = rng.integers(0, levels, (num, len(modes))).astype(float)  # few levels: ties, and trials that are equal
        found = pareto.non_dominated_ranks(values, modes)
        assert found.tolist() == ranks_one_by_one(pareto.losses(values, modes))


@pytest.mark.parametrize("modes", MODES)
def test_the_hypervolume_is_the_number_of_cells_that_are_dominated(modes: list[str]) -> None:
    rng, size = np.random.default_rng(1), 6
    for num in (0, 1, 5, 12):
        loss = rng.integers(0, size + 2, (num, len(modes)))  # some beyond the reference
        signs = np.array([-1 if mode == "max" else 1 for mode in modes])
        cells = itertools.product(range(size), repeat=len(modes))
        dominated = sum(any((point <= cell).all() for point in loss) for cell in map(np.array, cells))
        assert pareto.hypervolume(loss * signs, modes, [size * sign for sign in signs.tolist()]) == dominated


def test_the_ends_of_a_front_are_never_crowded_and_the_knee_is_where_it_bends() -> None:
    front = np.array([[0.5, 1.0], [0.7, 1.2], [0.72, 5.0], [0.73, 11.0]])
    distances = pareto.crowding_distances(front)
    assert distances[0] == distances[3] == math.inf
    assert distances[1] == pytest.approx((0.72 - 0.5) / 0.23 + (5.0 - 1.0) / 10)
    assert pareto.knee(front, ["max", "min"]) == 1
    assert pareto.knee(front[[0]], ["max", "min"]) == 0
    assert pareto.knee(front * 1000, ["max", "min"]) == 1, "units change nothing"
    assert pareto.crowding_distances(front[:0]).shape == (0,)


def trial_events(rng: np.random.Generator, num_trials: int) -> list[dict[str, Any]]:
    """A journal with ties, trials that fail, and trials whose costs are not known."""
    events: list[dict[str, Any]] = []
    for number in range(num_trials):
        events.append({"event": "sampled", "time": 1.0, "trial": number, "hparams": {}, "params": {}})
        for epoch in range(1, int(rng.integers(2, 5))):
            score = float(rng.integers(0, 6)) / 5 if rng.random() > 0.1 else math.nan
            row = {"epoch": epoch, "val_macro_f1": score, "val_loss": 1 - score, "epoch_s": 0.5}
            costs = {"latency_ms": float(rng.integers(1, 6)), "weights": float(rng.integers(1, 4))}
            known = {"costs": costs} if number % 7 else {}
            events.append({"event": "report", "time": 2.0, "trial": number, "epochs": [row], **known})
        state = str(rng.choice(["finished", "stopped", "failed", "running"]))
        if state != "running":
            events.append({"event": "ended", "time": 3.0, "trial": number, "state": state, "reason": None})
    return events


ORDERS = [
    Order("val_macro_f1", "max", (), (parse_constraint("latency_ms <= 3"),)),
    Order("val_macro_f1", "max", (("val_macro_f1", "max"), ("latency_ms", "min"))),
    Order(
        "val_loss",
        "min",
        (("val_loss", "min"), ("latency_ms", "min"), ("weights", "min")),
        (parse_constraint("weights < 3"), parse_constraint("val_macro_f1 > 0.1")),
    ),
]


@pytest.mark.parametrize("order", ORDERS)
def test_the_ranking_that_is_kept_level_is_that_of_all_trials(order: Order) -> None:
    record = SweepRecord()
    events = trial_events(np.random.default_rng(2), 40)
    record.ranking(order)
    for at, event in enumerate(events):
        record.apply(event)
        if at % 11 == 0 or at == len(events) - 1:
            fresh = SweepRecord(trials=dict(record.trials))
            ranked = record.ranked(order)
            assert [trial.number for trial in ranked] == [trial.number for trial in fresh.ranked(order)]
            check_order(record, order)


def check_order(record: SweepRecord, order: Order) -> None:
    ranked = record.ranked(order)
    judged = {t.number: order.losses(t) for t in record.trials.values() if t.state != "failed"}
    with_values = {number for number, losses in judged.items() if losses is not None}
    assert {trial.number for trial in ranked} == with_values
    places = [(not order.is_feasible(trial), *record.ranking(order).place(trial)[1:]) for trial in ranked]
    assert places == sorted(places), "feasible before infeasible, then by front, value and number"
    front, feasible = record.ranking(order).front(), [trial for trial in ranked if order.is_feasible(trial)]
    if not order.objectives:
        assert front == []
        return
    losses = {trial.number: np.array(order.losses(trial)) for trial in feasible}
    wanted = {n for n, loss in losses.items() if not any(dominates(other, loss) for other in losses.values())}
    assert {trial.number for trial in front} == wanted
    assert [record.ranking(order).rank(trial) for trial in front] == [0] * len(front)
    if front:
        assert front[0] is ranked[0], "the best in the first objective is on the front"
    ended = [trial for trial in ranked if trial.state != "running"]
    kept = record.kept(order, 1)
    assert kept == ended[: max(1, sum(trial in front for trial in ended))], "of a front every checkpoint is kept"


def test_a_front_gives_its_knee_and_the_best_in_each_objective() -> None:
    record, order = SweepRecord(), ORDERS[1]
    for number, (score, latency) in enumerate([(0.5, 1.0), (0.7, 1.2), (0.72, 5.0), (0.6, 4.0), (0.72, 9.0)]):
        record.apply({"event": "sampled", "time": 1.0, "trial": number, "hparams": {}})
        rows = [{"epoch": 1, "val_macro_f1": score, "epoch_s": 2.0}, {"epoch": 2, "val_macro_f1": 0.1, "epoch_s": 3.0}]
        costs = {"latency_ms": latency, "weights": 10}
        record.apply({"event": "report", "time": 2.0, "trial": number, "epochs": rows, "costs": costs})
    front = front_of(record, order)
    assert front is not None
    assert [trial.number for trial in front.trials] == [2, 1, 0]
    assert (front.knee.number, front.pick("latency_ms").number, front.pick("val_macro_f1").number) == (1, 0, 2)
    assert front.labels() == {1: "knee", 2: "best val_macro_f1", 0: "best latency_ms"}
    assert front.share == pytest.approx(1 - (0.2 / 0.22 * 0.2 / 8 + 0.02 / 0.22 * 4 / 8), abs=1e-9)
    first = record.trials[0]
    assert costs_of(first, first.best("val_macro_f1", "max")) == {"latency_ms": 1.0, "weights": 10.0, "train_s": 2.0}
    assert front_of(record, Order("val_macro_f1", "max")) is None


def test_a_limit_is_kept_or_broken_as_its_sign_says() -> None:
    for text, holds, broken in [("weights <= 2e6", 2e6, 2e6 + 1), ("weights<3", 2.9, 3.0), ("val_loss>=.5", 0.5, 0.4)]:
        constraint = parse_constraint(text)
        assert constraint.violation(holds) <= 0 < constraint.violation(broken)
    assert parse_constraint("weights <= 2e6").violation(4e6) == 1.0, "in shares of the limit"
    assert parse_constraint("weights <= 2").violation(math.nan) == math.inf


@pytest.mark.parametrize(
    "costs", [[], {"latency_ms": "1"}, {"latency_ms": math.nan}, {"weights": True}, {"weights": None}]
)
def test_costs_that_are_none_are_refused(costs: Any) -> None:
    import json

    event = {"event": "report", "time": 1.0, "trial": 0, "epochs": [{"epoch": 1}], "costs": costs}
    with pytest.raises(ValueError, match="costs"):
        parse_event(json.dumps(event).encode())
    parse_event(json.dumps({**event, "costs": {"latency_ms": 0.5}}).encode())
