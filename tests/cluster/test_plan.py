"""What `fersweep plan` says: the arithmetic without Ray or a framework, past sweeps, and one plan of a curve."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.launch import describe
from fersweep.cluster.planning import estimate, measure, tables
from fersweep.cluster.planning.calibration import as_costs, own_trials
from fersweep.cluster.planning.costs import Costs, TrialCost, faces_ratio
from fersweep.cluster.planning.estimate import Range
from fersweep.cluster.planning.needs import disk_bytes
from fersweep.cluster.planning.past_sweeps import past_costs
from fersweep.cluster.planning.plan import Options, plan
from fersweep.cluster.planning.simulation import Overhead, Run, Rung, simulate
from fersweep.cluster.planning.suggestions import Suggestions
from fersweep.cluster.plans import find_plan, save_plan
from fersweep.cluster.schedulers import asha
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.dashboards.status import status
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.sweep_json import Planned, read_sweep_json
from fersweep.results.record.timeline import planned_and_taken
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Stop, Sweep
from tests.cluster.test_search import drive, make_sweep
from tests.sweeps import METRIC, WORKER, write_sweep

COST = TrialCost(None, {}, build_s=1.0, first_s=0.5, epoch_s=2.0, report_s=0.1, checkpoint_bytes=1000, rss_bytes=10**8)
FREE = Overhead(0.0, 0.0, lambda number: 0.0)
NO_SUGGESTION = Suggestions(0.0, 0.0)


def costs_of(*trials: TrialCost, **changes: Any) -> Costs:
    return replace(Costs("past sweeps", trials or [COST], start_s=3.0, read_s=0.0, at_once=2), **changes)


def test_a_rung_decides_as_asha_does() -> None:
    stop, record, rng = (
        Stop.model_validate({"grace_epochs": 1, "reduction": 3}),
        SweepRecord(),
        np.random.default_rng(0),
    )
    rung = Rung(stop.reduction)
    for number, score in enumerate(rng.choice(20, 60).tolist()):  # with equal ones
        record.apply({"event": "sampled", "time": 0.0, "trial": number, "hparams": {}})
        record.apply({"event": "report", "time": 0.0, "trial": number, "epochs": [{"epoch": 1, METRIC: float(score)}]})
        assert rung.survives(score) == asha.survives(record, stop, number, 1)


def test_without_a_scheduler_a_sweep_takes_what_its_parts_take() -> None:
    stop = Stop.model_validate({"scheduler": "none", "max_epochs": 10, "report_s": 4.0})
    run = simulate(stop, [COST] * 6, 2, 3.0, FREE, np.random.default_rng(0))
    trial_s = 1.0 + 0.5 + 10 * 2.0 + 5 * 0.1  # two epochs a report
    assert run.sweep_s == pytest.approx(3.0 + 3 * trial_s)
    assert (run.epochs, run.reports, run.finished, run.reached) == (60, 30, 6, {})
    assert run.busy_s == pytest.approx(2 * run.sweep_s)


def test_the_driver_is_a_place_where_reports_queue() -> None:
    stop = Stop.model_validate({"scheduler": "none", "max_epochs": 50, "report_s": 0.0})
    quick = replace(COST, build_s=0.0, first_s=0.0, epoch_s=0.01, report_s=0.0)
    run = simulate(stop, [quick] * 40, 40, 0.0, Overhead(0.02, 0.0, lambda number: 0.0), np.random.default_rng(0))
    assert run.sweep_s == pytest.approx(40 * 50 * 0.02, rel=0.05)  # not 50 * 0.03, as if each had the driver for itself
    assert estimate.bottleneck(estimate.shares([run], 40, 0.0)) == "driver and sampler"


@pytest.mark.parametrize(
    "stop",
    [
        {},
        {"scheduler": "hyperband"},
        {"unit": "seconds", "grace_epochs": None, "grace_s": 4.0, "max_s": 40.0},
    ],
)
def test_trials_at_the_rungs_are_as_many_as_in_a_search(
    tmp_path: Path, open_journal: Any, stop: dict[str, Any]
) -> None:
    """Each of the sweep's schedulers, by the rungs of which epochs of two seconds are the same ones."""
    from fersweep.cluster.search.decisions import Search

    search_for = {"sampler": "random", "num_trials": 40, "start_from": []}
    sweep = make_sweep(search=search_for, stop={**stop, "scheduler": stop.get("scheduler", "asha")})
    of_epochs = {
        key: value for key, value in stop.items() if not key.endswith("_s") and key not in ("unit", "grace_epochs")
    }
    search = Search(make_sweep(search=search_for, stop=of_epochs), open_journal(tmp_path / "journal.jsonl"))
    drive(search)
    levels, epoch_s = sweep.stop.rungs(), 2 if stop.get("unit") == "seconds" else 1
    trials = search.record.trials.values()
    real = {level: sum(trial.num_epochs >= level / epoch_s for trial in trials) for level in levels}
    found = estimate.stage(sweep, estimate.runs(sweep, costs_of(), 1, NO_SUGGESTION))
    assert found.rungs[levels[0]] == Range(40, 40, 40)
    for level in levels[1:]:
        assert found.rungs[level].low - 4 <= real[level] <= found.rungs[level].high + 4
    assert found.epochs.low * 0.9 <= search.record.num_epochs <= found.epochs.high * 1.1


def test_a_range_is_wider_where_trials_differ_and_known_trials_are_not_drawn() -> None:
    sweep = make_sweep(search={"num_trials": 8, "sampler": "random", "start_from": []}, stop={"scheduler": "none"})
    slow = replace(COST, epoch_s=8.0)
    alike = estimate.over_runs([run.sweep_s for run in estimate.runs(sweep, costs_of(COST), 2, NO_SUGGESTION)])
    mixed = estimate.over_runs([run.sweep_s for run in estimate.runs(sweep, costs_of(COST, slow), 2, NO_SUGGESTION)])
    known = [replace(COST if index % 2 else slow, trial=index) for index in range(8)]
    sure = estimate.over_runs([run.sweep_s for run in estimate.runs(sweep, costs_of(*known), 2, NO_SUGGESTION)])
    assert alike.low == alike.high
    assert mixed.low < mixed.likely < mixed.high
    assert sure.low == sure.high


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("train_s", "training"),
        ("start_s", "worker start-up"),
        ("build_s", "worker start-up"),
        ("suggest_s", "driver and sampler"),
        ("save_s", "storage writes"),
    ],
)
def test_the_bottleneck_is_what_takes_most(part: str, name: str) -> None:
    run = Run(sweep_s=20.0, train_s=3.0, save_s=2.0)
    setattr(run, part, 9.0)
    assert estimate.bottleneck(estimate.shares([run], 1, 0.0)) == name
    assert sum(estimate.shares([run], 1, 0.0).values()) == pytest.approx(1.0)
    assert estimate.bottleneck(estimate.shares([run], 1, 30.0)) == "reading data"


def test_disk_is_that_of_kept_and_running_trials() -> None:
    sweep = make_sweep(search={"num_trials": 30})
    found = disk_bytes(sweep, [COST], 4, num_val=100, num_classes=3)
    answers = 30 * 100 * 16
    assert (found.low, found.high) == (5 * 1000 + answers, (5 * 2 + 4 * 3) * 1000 + answers)
    everything = disk_bytes(sweep.model_copy(update={"keep_checkpoints": None}), [COST], 4, 100, 3)
    assert everything.low == 30 * 1000 + answers


def test_an_epoch_grows_with_faces_and_val_counts_less() -> None:
    assert faces_ratio(1000, 300, 1000, 300) == 1
    assert faces_ratio(3000, 300, 1000, 300) == pytest.approx(3100 / 1100)


def test_the_first_trials_are_those_that_the_sweep_will_draw(tiny_dataset: Path, tmp_path: Path) -> None:
    described, _ = describe(make_sweep(search={"num_trials": 20}), tiny_dataset, tmp_path)
    trials, sure = own_trials(described)
    assert sure == 10
    assert trials[0][1]["top"] == 0.9  # the point "easy"
    described, _ = describe(make_sweep(search={"num_trials": 20, "sampler": "random"}), tiny_dataset, tmp_path)
    assert own_trials(described)[1] == 20


def test_where_every_trial_fails_the_plan_says_why() -> None:
    lines = [{"start_s": 1.0}, {"trial": 0, "failed": "val_loss is nan"}, {"trial": 1, "failed": "val_loss is nan"}]
    with pytest.raises(InputError, match=r"all 2 trials that were tried failed; 2 with: val_loss is nan"):
        as_costs(lines, [], 2, 1, 0)
    found = as_costs([*lines, {"trial": 12, "epoch_s": 1.0, "epochs": 3}], [(12, {"top": 0.5})], 10, 1, 0)
    assert found.failed == {"val_loss is nan": 2}
    assert found.trials[0].trial is None  # not one of the sure ones
    assert found.trials[0].hparams == {"top": 0.5}


def test_a_part_of_the_faces_is_the_same_share_of_both_splits(tiny_dataset: Path) -> None:
    arrays = Task(tiny_dataset).arrays()
    part = measure.part_of(arrays, len(arrays.train.y) // 2)
    assert len(part.train.x) == len(part.train.y) == len(arrays.train.y) // 2
    assert len(part.val.y) == pytest.approx(len(arrays.val.y) / 2, abs=1)
    assert measure.part_of(arrays, 10**6) is arrays


def test_past_sweeps_of_the_same_kind_count(tmp_path: Path, tiny_dataset: Path) -> None:
    sweep_dir = write_sweep(tmp_path, tiny_dataset, num_trials=9)
    content = json.loads((sweep_dir / "sweep.json").read_text())
    arrays = Task(tiny_dataset).arrays()
    content |= {"num_train": len(arrays.train.y), "num_val": len(arrays.val.y)}
    (sweep_dir / "sweep.json").write_text(json.dumps(content))
    described, _ = describe(make_sweep(search={"start_from": []}), tiny_dataset, tmp_path)
    found = past_costs(described, tmp_path, 1, [str(WORKER["host"])])
    assert found is not None
    assert (found.source, list(found.sweeps), len(found.trials)) == ("past sweeps", ["tiny"], 8)
    assert {cost.rss_bytes for cost in found.trials} == {WORKER["rss_bytes"]}
    assert past_costs(described, tmp_path, 1, ["elsewhere"]) is None
    assert past_costs(described, tmp_path, 4, [str(WORKER["host"])]) is None  # other trials beside them
    changed = make_sweep(space={"range": {"rate": [0.4, 0.5]}}, search={"start_from": []})
    assert past_costs(describe(changed, tiny_dataset, tmp_path)[0], tmp_path, 1, [str(WORKER["host"])]) is None


def planned_for(sweep: Sweep, seconds: float) -> Planned:
    search, stop = sweep.search, sweep.stop
    return Planned(
        sweep_s=seconds,
        low_s=seconds,
        high_s=seconds,
        source="calibration",
        at_once=2,
        num_trials=search.num_trials,
        max_epochs=stop.max_epochs,
        created="2026-01-02T03:04:05+00:00",
    )


def test_a_plan_is_found_by_the_sweep_files_content(tmp_path: Path) -> None:
    sweep = make_sweep()
    save_plan(tmp_path, sweep, "f", planned_for(sweep, 100.0))
    assert find_plan(tmp_path, sweep, "f") == planned_for(sweep, 100.0)
    assert find_plan(tmp_path, sweep, "other faces") is None
    assert find_plan(tmp_path, make_sweep(stop={"max_epochs": 21}), "f") is None
    (tmp_path / "plans" / "s.json").write_text("{")
    assert find_plan(tmp_path, sweep, "f") is None
    assert planned_for(sweep, 100.0).against(108.0) == "planned 1 min 40 s, took 1 min 48 s (8 % more)"


def test_a_planned_sweep_says_how_far_off_the_plan_was(tmp_path: Path, tiny_dataset: Path) -> None:
    sweep_dir = write_sweep(tmp_path, tiny_dataset)
    content = json.loads((sweep_dir / "sweep.json").read_text())
    assert status(tmp_path)[0].planned is None
    asked = read_sweep_json(sweep_dir).asked
    content["planned"] = planned_for(asked, 100.0).model_dump()
    (sweep_dir / "sweep.json").write_text(json.dumps(content))
    assert str(status(tmp_path)[0].planned).startswith("planned 1 min 40 s, took")
    more = read_sweep_json(sweep_dir).model_copy(
        update={"asked": asked.model_copy(update={"search": asked.search.model_copy(update={"num_trials": 99})})}
    )
    assert planned_and_taken(more, sweep_dir) is None  # extended since


def test_gpus_need_trials_that_ask_for_them(tmp_path: Path, tiny_dataset: Path) -> None:
    with pytest.raises(InputError, match=r"--gpus 4: the sweep's trials ask for no GPU"):
        plan(make_sweep(), tiny_dataset, tmp_path, "local", Options(gpus=4))


@pytest.mark.processes
def test_a_curve_is_planned_for_here_and_for_gpus(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    sweep = parse_sweep(
        {
            "name": "planned",
            "trainable": "curve",
            "space": {"fix": {"noise": 0.01}},
            "search": {"num_trials": 6},
            "stop": {"grace_epochs": 2, "max_epochs": 12, "report_s": 0},
            "then": {"best": 2, "max_epochs": 20},
            "resources": {"cpus": os.cpu_count()},  # one process
        },
        "test",
    )
    home = tmp_path / "runs"
    found = plan(sweep, tiny_dataset, home, options=Options(budget_s=0.0))
    assert found.costs.source == "calibration"
    assert found.costs.trials[0].checkpoint_bytes > 0
    assert [stage.name for stage in found.stages] == ["planned", "planned-full"]
    assert found.stages[0].rungs[2] == Range(6, 6, 6)
    assert found.stages[0].epochs.high <= 6 * 12
    assert found.stages[1].epochs.high <= 2 * 20
    (here,) = found.estimates
    assert (here.at_once, len(here.sweep_s)) == (1, 2)
    assert here.total_s.low <= here.total_s.likely <= here.total_s.high
    assert json.loads(json.dumps(found.as_json()))["estimates"][0]["bottleneck"] == here.bottleneck
    assert {path.name for path in home.rglob("*")} == {"plans", "planned.json", "planned-full.json"}
    described, _ = describe(sweep, tiny_dataset, home)
    assert described.planned is not None
    assert described.planned.sweep_s == here.sweep_s[0].likely
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tables.render(found))
    assert max(map(len, console.export_text().splitlines())) <= 80


@pytest.mark.parametrize(
    ("value", "beside", "text"),
    [
        (0.004, None, "0 s"),
        (0.0968, None, "0.097 s"),
        (1.0, None, "1.0 s"),
        (86.4, None, "86 s"),
        (102.0, 86.4, "102 s"),
        (90.0, None, "1.5 min"),
        (720.0, None, "12 min"),
        (12240.0, None, "3.4 h"),
        (216000.0, None, "2.5 days"),
    ],
)
def test_times_have_the_digits_that_can_be_meant(value: float, beside: float | None, text: str) -> None:
    assert tables.seconds(value, beside) == text
