"""The search without Ray: suggestions, ASHA's rule, and that a replayed journal decides as the unbroken one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from fersweep.cluster.launch import describe
from fersweep.cluster.search.decisions import Search
from fersweep.common.errors import InputError
from fersweep.results.record.journal import WorkerUsage
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables.curve import Curve, Hparams
from tests.cluster.conftest import OpenJournal
from tests.sweeps import write_sweep


def make_sweep(**changes: Any) -> Sweep:
    content: dict[str, Any] = {
        "name": "s",
        "trainable": "curve",
        "search": {"num_trials": 30, "seed": 1, "start_from": ["easy"]},
        "stop": {"grace_epochs": 2, "max_epochs": 20, "reduction": 3},
    }
    for key, value in changes.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return parse_sweep(content, "test")


def drive(search: Search, until: int | None = None, costs: Callable[[Curve], dict[str, float]] | None = None) -> None:
    """Run trials one after another, one epoch a report; leave off in the middle of the trial `until`. `costs`: of a trial's
    model, in its first report.
    """
    while (assignment := search.next()) is not None:
        curve = Curve(Hparams(**assignment.hparams), np.zeros((3, 1)), {"seed": assignment.trial})
        curve.epoch = assignment.known_epochs
        while True:
            row = curve.fit(1)
            status = "finished" if curve.epoch == search.sweep.stop.max_epochs else "running"
            measured = costs(curve) if costs and curve.epoch == 1 else None
            if search.report(assignment.trial, row, status, costs=measured):
                break
            if assignment.trial == until:
                return


def history(search: Search) -> list[tuple]:
    return [(t.number, t.params, t.state, t.epochs) for t in search.record.trials.values()]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("broken_at", [0, 3, 17])
def test_a_resumed_search_equals_an_unbroken_one(
    tmp_path: Path, open_journal: OpenJournal, sampler: str, broken_at: int
) -> None:
    sweep = make_sweep(search={"sampler": sampler})
    whole = Search(sweep, open_journal(tmp_path / "whole.jsonl"))
    drive(whole)
    assert len(whole.record.trials) == 30
    assert whole.record.count()["stopped"] > 5

    broken = Search(sweep, open_journal(tmp_path / "broken.jsonl"))
    drive(broken, until=broken_at)
    with (tmp_path / "broken.jsonl").open("a") as file:
        file.write('{"event": "report", "tri')  # the crash tore the last line
    resumed = Search(sweep, open_journal(tmp_path / "broken.jsonl"))
    drive(resumed)
    assert history(resumed) == history(whole)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The events of a journal without their times."""
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("time", "suggest_s")}
        for line in path.read_text().splitlines()
    ]


def bring_about(search: Search, event: dict[str, Any]) -> None:
    """Do to `search` what made it write `event`, an event of another search over the same trials."""
    number = event["trial"]
    while number not in search.active:
        assignment = search.next()  # what was left unfinished comes first
        assert assignment is not None
        if assignment.trial == len(search.record.trials) - 1 == number and event["event"] == "sampled":
            return
    if event["event"] == "report":
        search.report(number, event["epochs"], "running")
    elif event["event"] == "fault":
        search.fault(number, event["kind"], event["reason"])
    elif event["event"] == "ended":
        search.report(number, [], event["state"], event["reason"])


def drive_two(search: Search) -> None:
    """Run trials two at a time, one epoch a report in turns; every 7th breaks off once, every 9th fails."""
    curves: dict[int, Curve] = {}
    while True:
        while len(curves) < 2 and (assignment := search.next()) is not None:
            curves[assignment.trial] = Curve(
                Hparams(**assignment.hparams), np.zeros((3, 1)), {"seed": assignment.trial}
            )
        if not curves:
            return
        for number, curve in list(curves.items()):
            ended = search.report(number, curve.fit(1), "running")
            if not ended and curve.epoch == 1 and number % 7 == 6 and not search.record.trials[number].retries:
                search.fault(number, "trial", "its process died")
                assert search.next().trial == number  # type: ignore[union-attr]
            elif not ended and curve.epoch == 4 and number % 9 == 8:
                ended = search.report(number, [], "failed", "val_loss is nan at epoch 5")
            elif not ended and curve.epoch == search.sweep.stop.max_epochs:
                ended = search.report(number, [], "finished")
            if ended:
                del curves[number]


def test_a_report_that_comes_twice_changes_nothing(tmp_path: Path, open_journal: OpenJournal) -> None:
    search = Search(make_sweep(), open_journal(tmp_path / "j.jsonl"))
    number = search.next().trial  # type: ignore[union-attr]
    row = {"epoch": 1, "val_macro_f1": 0.5}
    search.report(number, [row], "running")
    search.report(number, [row, {"epoch": 2, "val_macro_f1": 0.6}], "running")
    assert [r["epoch"] for r in search.record.trials[number].epochs] == [1, 2]


def test_asha_keeps_the_best_third_of_those_that_reached_the_rung(tmp_path: Path, open_journal: OpenJournal) -> None:
    search = Search(make_sweep(), open_journal(tmp_path / "j.jsonl"))
    assert search.sweep.stop.rungs() == [2, 6, 18]
    ended = {}
    for value in [0.5, 0.4, 0.6, 0.55, 0.1, 0.9]:
        number = search.next().trial  # type: ignore[union-attr]
        rows = [{"epoch": 1, "val_macro_f1": value}, {"epoch": 2, "val_macro_f1": value / 2}]  # its best epoch counts
        ended[value] = search.report(number, rows, "running")
        seen = list(ended)
        assert ended[value] == (value < np.quantile(seen, 2 / 3))
    assert ended == {0.5: False, 0.4: True, 0.6: False, 0.55: False, 0.1: True, 0.9: False}


def test_asha_in_a_minimising_search(tmp_path: Path, open_journal: OpenJournal) -> None:
    search = Search(make_sweep(stop={"metric": "val_loss", "mode": "min"}), open_journal(tmp_path / "j.jsonl"))
    for value, ends in [(0.5, False), (0.6, True), (0.4, False)]:
        number = search.next().trial  # type: ignore[union-attr]
        rows = [{"epoch": e, "val_loss": value} for e in (1, 2)]
        assert search.report(number, rows, "running") is ends


def test_a_nan_never_survives_a_rung(tmp_path: Path, open_journal: OpenJournal) -> None:
    search = Search(make_sweep(), open_journal(tmp_path / "j.jsonl"))
    number = search.next().trial  # type: ignore[union-attr]
    assert search.report(number, [{"epoch": e, "val_macro_f1": float("nan")} for e in (1, 2)], "running")
    assert search.record.trials[number].state == "stopped"
    assert search.record.ranked("val_macro_f1", "max") == []


def test_optuna_is_told_the_truth(tmp_path: Path, open_journal: OpenJournal) -> None:
    search = Search(make_sweep(), open_journal(tmp_path / "j.jsonl"))
    rows = [{"epoch": 1, "val_macro_f1": 0.7}, {"epoch": 2, "val_macro_f1": 0.6}]
    for status in ("finished", "failed", "running"):
        search.report(search.next().trial, rows if status != "failed" else [], status, "why")  # type: ignore[union-attr]
    low = search.next()
    search.report(low.trial, [{"epoch": e, "val_macro_f1": 0.1} for e in (1, 2)], "running")  # type: ignore[union-attr]
    trials = search.study().trials
    state = optuna.trial.TrialState
    assert [t.state for t in trials] == [state.COMPLETE, state.FAIL, state.PRUNED, state.PRUNED]
    assert trials[0].value == 0.7
    assert trials[2].intermediate_values == {1: 0.7, 2: 0.6}, "it runs: by what it has reached so far"
    assert trials[3].intermediate_values == {1: 0.1, 2: 0.1}
    assert trials[0].params == {"top": 0.9, "rate": 0.3, "noise": 0.0}


def test_tpe_beats_random(tmp_path: Path, open_journal: OpenJournal) -> None:
    """In nearly all of seven searches, which differ in their seed."""
    wins = 0
    for seed in range(7):
        best = {}
        for sampler in ("tpe", "random"):
            asked = {"sampler": sampler, "seed": seed, "start_from": []}
            search = Search(
                make_sweep(search=asked, space={"fix": {"noise": 0.0}}),
                open_journal(tmp_path / f"{sampler}-{seed}.jsonl"),
            )
            drive(search)
            best[sampler] = search.record.ranked("val_macro_f1", "max")[0].value("val_macro_f1", "max")
        wins += best["tpe"] > best["random"]
    assert wins >= 6


def test_the_journal_can_be_moved(tmp_path: Path, open_journal: OpenJournal) -> None:
    search = Search(make_sweep(), open_journal(tmp_path / "a.jsonl"))
    drive(search, until=4)
    shutil.copy(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert history(Search(make_sweep(), open_journal(tmp_path / "b.jsonl"))) == history(search)


def test_the_best_points_of_an_older_sweep_come_after_the_named_ones(
    tmp_path: Path, open_journal: OpenJournal, tiny_dataset: Path
) -> None:
    """Without their values; and once the sweep is described, the older one is not needed."""
    older = write_sweep(tmp_path, tiny_dataset, 5, "old")  # 0, 3 and 4 finished, 1 was stopped, 2 failed
    asked = {"start_from": ["easy", {"sweep": "old", "best": 4}], "num_trials": 6}
    sweep = make_sweep(search=asked)
    described, _ = describe(sweep, tiny_dataset, tmp_path)
    assert described.history == []
    shutil.rmtree(older)
    journal, points = tmp_path / "j.jsonl", described.older_points
    drive(Search(sweep, open_journal(journal), points=points), until=3)  # and then resumed
    search = Search(sweep, open_journal(journal), points=points)
    drive(search)
    trials = search.record.trials
    assert [t.point for t in trials.values()] == ["easy", "old/0004", "old/0003", "old/0000", "old/0001", None]
    for number, rate in ((1, 0.18), (2, 0.16), (3, 0.1), (4, 0.12)):
        assert trials[number].params == {"rate": pytest.approx(rate), "top": 0.8, "noise": 0.01}
    assert len(search.study().trials) == 6


@pytest.mark.parametrize(
    ("best", "changes", "message"),
    [
        (2, {"space": {"range": {"rate": [0.17, 0.5]}}}, r"point 'old/0003' has rate = 0\.16, outside space\.range's"),
        (2, {"space": {"fix": {"noise": 0.0}}}, r"point 'old/0004' has noise = 0\.01, but space\.fix says 0\.0"),
        (5, {}, "sweep 'old' has 4 trials that have ended and not failed, not 5"),
        (2, {"trainable": "faulty_curve"}, "sweep 'old' has trainable 'curve', not 'faulty_curve'"),
    ],
)
def test_points_that_cannot_be_taken_over(
    tmp_path: Path, tiny_dataset: Path, best: int, changes: dict[str, Any], message: str
) -> None:
    write_sweep(tmp_path, tiny_dataset, 5, "old")
    sweep = make_sweep(search={"start_from": [{"sweep": "old", "best": best}]}, **changes)
    with pytest.raises(InputError, match=message):
        describe(sweep, tiny_dataset, tmp_path)


def test_the_journal_holds_what_a_worker_took(tmp_path: Path, open_journal: OpenJournal) -> None:
    """One report an event that brought epochs; a journal of an earlier version has none of it and reads as ever."""
    search = Search(make_sweep(), open_journal(tmp_path / "j.jsonl"))
    number = search.next().trial  # type: ignore[union-attr]
    worker: dict[str, Any] = {"host": "node-1", "pid": 1, "cpu_percent": 90.0, "rss_bytes": 10}
    search.report(number, [{"epoch": 1, "val_macro_f1": 0.5}], "running", None, worker)
    search.report(number, [{"epoch": 1, "val_macro_f1": 0.5}], "running", None, worker)  # told again
    search.report(number, [{"epoch": 2, "val_macro_f1": 0.6}], "running")
    search.fault(number, "trial", "gone", [{"epoch": 3, "val_macro_f1": 0.7}], worker)
    for record in (search.record, open_journal(tmp_path / "j.jsonl").record):
        reports = record.trials[number].reports
        usage = WorkerUsage(**worker)
        assert [(report.epoch, report.worker) for report in reports] == [(1, usage), (2, None), (3, usage)]
