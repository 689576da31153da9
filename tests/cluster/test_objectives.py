"""Several objectives, constraints and what models cost, in a search: suggestions, early ends, and a whole sweep."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.schedulers.asha import survives
from fersweep.cluster.search.decisions import Search
from fersweep.cluster.worker import costs
from fersweep.cluster.worker.trial_settings import trial_settings
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.ranking.pareto import crowding_distances, non_dominated_ranks
from fersweep.results.record.storage import Storage
from fersweep.trainables.curve import Curve
from tests.cluster.conftest import OpenJournal
from tests.cluster.test_search import drive as drive_curves
from tests.cluster.test_search import history, make_sweep
from tests.one_trial import OneTrial

OBJECTIVES = [{"metric": "val_macro_f1"}, {"metric": "latency_ms"}]


def costs_of_curve(curve: Curve) -> dict[str, float]:
    """A fast `rate` costs latency."""
    return {"latency_ms": 20 * curve.hparams.rate, "weights": 1e6 * curve.hparams.top}


drive = functools.partial(drive_curves, costs=costs_of_curve)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_resumed_search_of_two_objectives_equals_an_unbroken_one(
    tmp_path: Path, open_journal: OpenJournal, sampler: str
) -> None:
    sweep = make_sweep(
        search={"sampler": sampler, "num_trials": 24, "constraints": ["weights <= 900000"]},
        stop={"objectives": OBJECTIVES},
    )
    whole = Search(sweep, open_journal(tmp_path / "whole.jsonl"))
    drive(whole)
    broken = Search(sweep, open_journal(tmp_path / "broken.jsonl"))
    drive(broken, until=13)
    resumed = Search(sweep, open_journal(tmp_path / "broken.jsonl"))
    drive(resumed)
    assert history(resumed) == history(whole)
    assert whole.record.count()["stopped"] > 5
    study = whole.study()
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    front = {trial.number for trial in whole.record.ranking(order_of(sweep)).front()}
    assert {trial.number for trial in study.best_trials} == front, "Optuna's own front, by its own code"


def test_who_survives_a_rung_of_two_objectives(tmp_path: Path, open_journal: OpenJournal) -> None:
    """By front, then by crowding: as many as a quantile of one objective lets through."""
    sweep = make_sweep(search={"sampler": "random"}, stop={"objectives": OBJECTIVES})
    search = Search(sweep, open_journal(tmp_path / "j.jsonl"))
    drive(search)
    order = order_of(sweep)
    for level in (2, 6, 18):
        here = [trial for trial in search.record.trials.values() if trial.num_epochs >= level]
        values = np.array([order.values(trial, level) for trial in here])
        ranks = non_dominated_ranks(values, order.modes)
        keys = []
        for index, trial in enumerate(here):
            same = np.flatnonzero(ranks == ranks[index])
            crowding = crowding_distances(values[same])[list(same).index(index)]
            keys.append((ranks[index], -crowding, trial.number))
        best = {number for _, _, number in sorted(keys)[: (len(here) - 1) // 3 + 1]}
        found = {trial.number for trial in here if survives(search.record, sweep.stop, trial.number, level)}
        assert found == best
    stopped = [trial for trial in search.record.trials.values() if trial.state == "stopped"]
    assert {trial.num_epochs for trial in stopped} <= {2, 6, 18}


def test_what_can_never_keep_to_a_constraint_ends_at_its_first_report_and_is_compared_with_nobody(
    tmp_path: Path, open_journal: OpenJournal
) -> None:
    sweep = make_sweep(search={"sampler": "random", "constraints": ["latency_ms <= 4", "val_macro_f1 > 0.1"]})
    path = tmp_path / "j.jsonl"
    search = Search(sweep, open_journal(path))
    drive(search)
    record, order = search.record, order_of(sweep)
    infeasible = [trial for trial in record.trials.values() if trial.costs["latency_ms"] > 4]
    assert 3 < len(infeasible) < 27
    assert all((trial.state, trial.num_epochs) == ("stopped", 1) for trial in infeasible)
    assert infeasible[0].reason == f"infeasible: latency_ms {infeasible[0].costs['latency_ms']:.4g} > 4"
    ranked = record.ranked(order)
    feasible = [order.is_feasible(trial) for trial in ranked]
    assert feasible == sorted(feasible, reverse=True)
    assert feasible[0]
    assert not feasible[-1]
    ended = [line for line in map(json.loads, path.read_text().splitlines()) if line["event"] == "ended"]
    assert sum(str(line["reason"]).startswith("infeasible: ") for line in ended) == len(infeasible)
    rung = [trial for trial in record.trials.values() if trial.num_epochs >= 2]
    kept = sum(survives(record, sweep.stop, trial.number, 2) for trial in rung)
    assert kept >= len(rung) // 3, "feasible trials are not held against infeasible ones"


def test_a_trial_that_reports_past_a_rung_and_is_infeasible_raises_no_bar(
    tmp_path: Path, open_journal: OpenJournal
) -> None:
    for stop in ({}, {"objectives": OBJECTIVES}):
        sweep = make_sweep(search={"constraints": ["weights <= 5"], "num_trials": 8}, stop=stop)
        search = Search(sweep, open_journal(tmp_path / f"{len(stop)}.jsonl"))
        for number, (score, weights) in enumerate([(0.9, 10), (0.8, 10), (0.5, 3), (0.95, 10), (0.6, 3)]):
            assert search.next() is not None
            rows = [{"epoch": epoch, "val_macro_f1": score, "val_loss": 1.0} for epoch in (1, 2)]
            ends = search.report(number, rows, "running", costs={"weights": weights, "latency_ms": 1.0})
            assert ends == (weights > 5), number


def test_a_worker_says_once_what_a_model_costs(tmp_path: Path, tiny_dataset: Path) -> None:
    sweep = make_sweep(stop={"report_s": 0.0, "max_epochs": 3})
    arrays = Task(tiny_dataset).arrays()
    settings = trial_settings(sweep, tmp_path, Storage(tmp_path))
    hparams = {"rate": 0.1, "top": 0.8, "noise": 0.01}
    first = OneTrial(settings, arrays, 0, hparams, 0).run()
    assert first.costs.keys() == {"latency_ms", "weights", "checkpoint_bytes"}
    assert 0 < first.costs["latency_ms"] < 1000
    assert first.costs["weights"] == arrays.train.x.shape[1] * len(arrays.classes)
    checkpoint = tmp_path / "trials" / "0000" / "epoch-0001"
    assert first.costs["checkpoint_bytes"] == sum(path.stat().st_size for path in checkpoint.iterdir())
    session = OneTrial(settings, arrays, 0, hparams, 1)
    assert session.run().costs == {}, "the journal has them"
    asked = make_sweep(search={"constraints": ["latency_ms < 3"]})
    assert trial_settings(asked, tmp_path, Storage(tmp_path)).latency_s == costs.LONG_S > settings.latency_s


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_a_sweep_of_two_objectives_from_launch_to_report(
    tmp_path: Path, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fersweep.cli import sweeps as verbs
    from fersweep.results.compare.trials import compare
    from fersweep.results.report.page import render
    from tests.processes import write_curve

    path = write_curve(tmp_path / "c.yaml", trials=4, epochs=3, cpus=2)
    content = path.read_text()
    stop = next(line for line in content.splitlines() if line.startswith("stop:"))
    with_objectives = stop.replace("{", "{objectives: [{metric: val_macro_f1}, {metric: latency_ms}], ", 1)
    path.write_text(content.replace(stop, with_objectives) + "keep_checkpoints: 1\n")
    home = tmp_path / "runs"
    verbs.launch(str(path), tiny_dataset, home=home)
    capsys.readouterr()
    found: dict[str, Any] = compare(home / "sweeps" / "c").as_json()
    assert found["objectives"] == {"val_macro_f1": "max", "latency_ms": "min"}
    assert found["front"]["trials"] == [row["trial"] for row in found["trials"] if row["front"] == 0]
    assert all(
        row["costs"].keys() == {"latency_ms", "weights", "checkpoint_bytes", "train_s"} for row in found["trials"]
    )
    for number in found["front"]["trials"]:
        assert list((home / "sweeps" / "c" / "trials" / f"{number:04d}").glob("epoch-*")), (
            "kept beyond keep_checkpoints"
        )
    assert "The front" in render(home / "sweeps" / "c", faces=False)
