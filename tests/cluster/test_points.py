"""Points that cannot be built, choices that are lists from the sampler to the study, and what older sweeps may teach."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from fersweep.cluster.launch import describe
from fersweep.cluster.search.decisions import Search, TooManyFailures
from fersweep.common.errors import InputError
from fersweep.results.record.optuna_study import study_of
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from tests.cluster.conftest import OpenJournal
from tests.datasets import write_tiny_dataset
from tests.sweeps import write_sweep

METRIC = "val_macro_f1"


@pytest.fixture(autouse=True)
def listed_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERSWEEP_TRAINABLES", "tests.doubles.listed_curve")


def make_sweep(**changes: Any) -> Sweep:
    content: dict[str, Any] = {
        "name": "s",
        "trainable": "listed_curve",
        "space": {"fix": {"odd": 0}},
        "search": {"num_trials": 30, "seed": 1, "start_from": ["flat"]},
        "stop": {"grace_epochs": 2, "max_epochs": 4},
    }
    return parse_sweep(content | changes, "test")


def drive(search: Search, events: int | None = None, path: Path | None = None) -> None:
    """Run trials one after another, as long as the journal has fewer than so many events."""
    while (assignment := search.next()) is not None:
        rows = [{"epoch": epoch, METRIC: assignment.hparams["top"] * epoch / 9} for epoch in range(1, 5)]
        search.report(assignment.trial, rows[assignment.known_epochs :], "finished")
        if path is not None and events is not None and len(path.read_bytes().splitlines()) >= events:
            return


def told(search: Search) -> list[tuple[Any, ...]]:
    return [(t.number, t.params, t.hparams, t.state, t.reason, t.refused) for t in search.record.trials.values()]


def test_a_point_that_cannot_be_built_is_a_failed_trial(tmp_path: Path, open_journal: OpenJournal) -> None:
    """Also where the driver is killed between its suggestion and its end; a search that has none left is done."""
    path, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    whole = Search(make_sweep(), open_journal(path))
    drive(whole)
    failed = [trial for trial in whole.record.trials.values() if trial.state == "failed"]
    assert len(failed) > 2
    assert whole.done()
    for trial in failed:
        assert trial.hparams == {}
        assert trial.params["load"] >= 0.8
        assert str(trial.reason).startswith("space: load: Input should be less than 0.8, but got 0.")
    state = optuna.trial.TrialState
    assert [trial.state for trial in whole.study().trials].count(state.FAIL) == len(failed)
    lines = path.read_bytes().splitlines(keepends=True)
    refused = [k for k, line in enumerate(lines) if b'"refused"' in line]
    for k in (*refused[:2], refused[-1]):
        cut.write_bytes(b"".join(lines[: k + 1]))
        resumed = Search(make_sweep(), open_journal(cut))
        resumed.settle()
        drive(resumed)
        assert told(resumed) == told(whole), f"after event {k}"


def test_too_many_points_that_cannot_be_built_end_the_sweep(tmp_path: Path, open_journal: OpenJournal) -> None:
    sweep = make_sweep(space={"range": {"load": [0.6, 1.0]}}, search={"num_trials": 30, "seed": 1})
    with pytest.raises(TooManyFailures, match="the commonest reason"):
        drive(Search(sweep, open_journal(tmp_path / "j.jsonl")))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_lists_come_back_from_the_journal_as_they_were(tmp_path: Path, open_journal: OpenJournal, sampler: str) -> None:
    """Optuna is told texts, and what is resumed goes on with the same choices."""
    sweep = make_sweep(search={"num_trials": 14, "seed": 1, "sampler": sampler, "start_from": ["flat"]})
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = Search(sweep, open_journal(whole))
        drive(search)
        drive(Search(sweep, open_journal(broken)), 12, broken)
        resumed = Search(sweep, open_journal(broken))
        drive(resumed)
        assert told(resumed) == told(search)
        study = study_of(resumed.record, METRIC, "max")
        assert {type(trial.params["shape"]) for trial in study.trials} == {str}
    first = resumed.record.trials[0]
    assert (first.hparams["shape"], first.params["shape"], first.hparams["parts"]) == ([64], "[64]", [0.9, 0.1])


def older(dataset: Path, home: Path, start: dict[str, Any], **changes: Any) -> tuple[list[Any], list[str]]:
    """What a sweep learns from sweep `old`, and the points that it begins with."""
    search = {"num_trials": 3, "start_from": [{"sweep": "old", **start}]}
    sweep = make_sweep(trainable="curve", space={}, search=search, **changes)
    described, _ = describe(sweep, dataset, home)
    return described.history, [point.name for point in described.points]


def test_old_values_of_another_task_are_not_taken_without_a_word(tmp_path: Path, tiny_dataset: Path) -> None:
    write_sweep(tmp_path, tiny_dataset, 5, "old")  # 0, 3 and 4 finished, 1 was stopped, 2 failed
    classes = json.loads((tiny_dataset / "manifest.json").read_text())["classes"]
    history, points = older(tiny_dataset, tmp_path, {})
    assert (len(history), points) == (5, [])
    same = {"classes": {name: [name] for name in classes}}  # said in other words
    assert len(older(tiny_dataset, tmp_path, {}, task=same)[0]) == 5
    ways_out = r"{sweep: old, values: false} takes its points alone; {sweep: old, values: true} takes its values all"
    for task, difference in (
        ({"fraction": 0.5}, r"task\.fraction was 1\.0, and is 0\.5"),
        ({"balance": 20}, r"task\.balance was None, and is 20"),
        ({"classes": {"a": classes[:1], "b": classes[1:]}}, r"task\.classes was {.*}, and is {'a': .*"),
    ):
        with pytest.raises(InputError, match=rf"sweep 'old' learned another task: {difference}: {ways_out}"):
            older(tiny_dataset, tmp_path, {}, task=task)
        assert len(older(tiny_dataset, tmp_path, {"values": True}, task=task)[0]) == 5
        assert older(tiny_dataset, tmp_path, {"values": False}, task=task) == ([], ["old/0004", "old/0003", "old/0000"])
    stop = {"grace_epochs": 2, "max_epochs": 4, "metric": "val_loss", "mode": "min"}
    for start in ({}, {"values": True}):
        with pytest.raises(
            InputError, match=r"are max val_macro_f1, and this sweep's are min val_loss: .*false} takes its points"
        ):
            older(tiny_dataset, tmp_path, start, stop=stop)
    assert older(tiny_dataset, tmp_path, {"best": 1}, task={"fraction": 0.5}) == ([], ["old/0004"])


def test_old_values_on_other_faces(tmp_path: Path, tiny_dataset: Path) -> None:
    write_sweep(tmp_path, tiny_dataset, 5, "old")
    others = write_tiny_dataset(tmp_path / "others", seed=1)
    with pytest.raises(InputError, match=r"another task: its dataset tiny has the fingerprint \w{12}, and others has"):
        older(others, tmp_path, {})
    assert older(others, tmp_path, {"values": False})[1] == ["old/0004", "old/0003", "old/0000"]


@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
def test_samplers_that_walk_a_space_walk_over_lists_and_points_that_cannot_be_built(
    tmp_path: Path, open_journal: OpenJournal, sampler: str
) -> None:
    """Two shapes, two parts, and a parameter of which one value cannot be built: eight points, each once."""
    shapes, parts = [[64], [64, 32]], ["even", [0.9, 0.1]]
    fix: dict[str, Any] = {"top": 0.5, "rate": 0.1, "noise": 0.0}
    search: dict[str, Any] = {"sampler": sampler, "num_trials": 12}
    if sampler == "grid":
        space: dict[str, Any] = {"fix": {**fix, "odd": 0}}
        search["sampler_options"] = {"points": {"shape": shapes, "parts": parts, "load": [0.1, 0.9]}}
    else:
        space = {"fix": {**fix, "load": 0.1}, "range": {"shape": shapes, "parts": parts}}
    sweep = make_sweep(space=space, search=search, failures={"max_failed_share": 1.0})
    run = Search(sweep, open_journal(tmp_path / "j.jsonl"))
    drive(run)
    trials = run.record.trials.values()
    assert len({json.dumps(trial.params, sort_keys=True) for trial in trials}) == len(trials) == 8
    assert [trial.state for trial in trials].count("failed") == 4
