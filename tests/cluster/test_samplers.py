"""Every sampler of the registry, and somebody's own: a search with it that is killed and resumed decides as one that never was."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.samplers import sampler
from fersweep.cluster.samplers.registry import SAMPLERS
from fersweep.cluster.search.decisions import Assignment, Search
from fersweep.common.errors import InputError
from fersweep.results.record.events import parse_event
from fersweep.results.record.sweep_json import OlderTrial
from fersweep.results.record.trial_record import Stretch, TrialRecord
from fersweep.search_spaces.sweep_file.consistency import remarks
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import distributions
from fersweep.search_spaces.sweep_file.sections import samplers as sections
from fersweep.trainables.curve import Curve, Hparams
from tests.cluster.conftest import OpenJournal
from tests.cluster.test_search import bring_about, lines_of, make_sweep

COUNTED = "tests.doubles.faulty_curve tests.doubles.counted_curve"
OWN = f"{Path(__file__).parents[1] / 'doubles/own_sampler.py'}:Stepping"
OPTIONS: dict[str, dict[str, Any]] = {  # so that it does what it is there for within thirty trials
    "tpe": {"n_startup_trials": 5},
    "gp": {"n_startup_trials": 25},
    "cmaes": {"popsize": 4},
    "nsga2": {"population_size": 4},
    "nsga3": {"population_size": 4},
    "grid": {"points": {"top": 7, "rate": 4, "noise": [0.0]}},
    OWN: {"width": 0.5},
}
NAMES = [*SAMPLERS, OWN]


@pytest.fixture(autouse=True)
def counted_curve_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERSWEEP_TRAINABLES", COUNTED)


def sweep_with(name: str, **search: Any) -> Sweep:
    asked = {"sampler": name, "sampler_options": OPTIONS.get(name, {}), "start_from": ["easy"], **search}
    changes: dict[str, Any] = {}
    if name == "brute_force":  # which asks for whole numbers
        asked["start_from"] = []
        changes = {"trainable": "counted_curve"}
    stop = {"grace_epochs": 2, "max_epochs": 6, "reduction": 3}
    return make_sweep(search=asked, stop=stop, failures={"max_failed_share": 1.0}, **changes)


def older(sweep: Sweep) -> list[OlderTrial]:
    """Trials of another sweep: finished, stopped, failed."""
    drawn = distributions(sweep)
    point = {"top": 0.7, "rate": 0.1, "noise": 0.01} if "rate" in drawn else {"kind": "flat", "top": 3}
    drawn = {name: drawn[name] for name in point}
    return [
        OlderTrial(sweep="old", params=point, distributions=drawn, epochs=epochs, state=state)
        for state, epochs in (
            ("finished", [{"epoch": 1, "val_macro_f1": 0.4}, {"epoch": 2, "val_macro_f1": 0.5}]),
            ("stopped", [{"epoch": 1, "val_macro_f1": 0.2}]),
            ("failed", []),
        )
    ]


def drive(search: Search, at_once: int) -> None:
    """Trials side by side in turns, two epochs a report. Every 7th breaks off once; every 9th fails, and all but the last of
    these are reopened; every 10th gives NaN.
    """
    curves: dict[int, Curve] = {}
    while True:
        while len(curves) < at_once and (assignment := search.next()) is not None:
            number = assignment.trial
            hparams = Hparams(**assignment.hparams)
            curves[number] = Curve(hparams, np.zeros((3, 1)), {"seed": number})
            curves[number].epoch = assignment.known_epochs
        if not curves:
            return
        for number, curve in list(curves.items()):
            trial = search.record.trials[number]
            fails, breaks = number % 9 == 8 and not trial.reopened, number % 7 == 6 and not trial.retries
            rows: list[Any] = curve.fit(1 if fails or breaks or curve.epoch % 2 else 2)
            if number % 10 == 4:
                rows = [{**row, "val_macro_f1": math.nan} for row in rows]
            ended = search.report(number, rows, "running")
            if fails:
                ended = search.report(number, [], "failed", "val_loss is nan")
                if number != 26:
                    search.journal.append("reopened", trial=number)
            elif breaks:
                search.fault(number, "trial", "its process died")
            elif not ended and curve.epoch == search.sweep.stop.max_epochs:
                ended = search.report(number, [], "finished")
            if ended or breaks:
                del curves[number]


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.rpartition("/")[2])
def test_killed_after_every_event_it_decides_as_one_that_never_was(
    tmp_path: Path, open_journal: OpenJournal, name: str, at_once: int
) -> None:
    """Each prefix of the journal, with the next line torn: what a search makes of it next is what the unbroken one wrote. So
    it is after any number of kills, wherever they come.
    """
    sweep = sweep_with(name)
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    search = Search(sweep, open_journal(whole), older(sweep))
    drive(search, at_once)
    assert search.done()
    assert 25 < len(search.record.trials) <= 30
    events, lines = lines_of(whole), whole.read_bytes().splitlines(keepends=True)
    assert {event["state"] for event in events if event["event"] == "ended"} == {"stopped", "failed", "finished"}
    assert {"fault", "reopened"} < {event["event"] for event in events}
    for k, event in enumerate(events):
        cut.write_bytes(b"".join(lines[:k]) + lines[k][: len(lines[k]) * (k % 3) // 3])
        resumed = Search(sweep, open_journal(cut), older(sweep))
        resumed.settle()
        if event["event"] == "reopened":
            resumed.journal.append("reopened", trial=event["trial"])
        elif event.get("state") != "stopped":  # which nobody asks for: to settle is to judge the last report
            bring_about(resumed, event)
        written = lines_of(cut)
        assert len(written) > k
        assert written == events[: len(written)], f"after event {k}"


@pytest.mark.parametrize(
    ("name", "options", "changes", "message"),
    [
        ("tpee", {}, {}, r"there is no 'tpee'; did you mean 'tpe'\?; your own: FILE\.py:CLASS, OptunaHub's: optunahub:samplers/NAME"),
        ("tpe", {"gama": 3}, {}, r"sampler_options\.gama: tpe has no such option; did you mean 'gamma'\?"),
        ("tpe", {"gamma": 1.5}, {}, r"sampler_options\.gamma.* but got 1\.5"),
        ("tpe", {"multivariate": False}, {}, "group: true needs multivariate: true"),
        ("random", {"seed": 3}, {}, "random has no such option; it has none"),
        ("qmc", {"qmc_type": "sobel"}, {}, r"sampler_options\.qmc_type: Input should be 'sobol' or 'halton', but got 'sobel'"),
        ("grid", {}, {"search": {"num_trials": 20}}, "the grid has 27 points, and search.num_trials is 20: want as many trials"),
        ("grid", {}, {"search": {"num_trials": 27, "start_from": ["easy"]}}, "27 points, beside 1 of search.start_from, and"),
        ("grid", {"points": {"rat": 3}}, {}, r"points\.rat: no parameter that is searched is named so; did you mean 'rate'\?"),
        ("grid", {"points": {"top": [0.3, 2.0]}}, {}, r"points\.top: 2\.0 is no number in \[0\.2, 0\.95\]"),
        ("grid", {"points": {"top": []}}, {}, r"sampler_options\.points\.top"),
        ("grid", {}, {"trainable": "counted_curve"}, "grid needs parameters that every trial has, and not every one has bend: fix"),
        ("grid", {"points": {"kind": ["round"]}}, {"trainable": "counted_curve", "space": {"fix": {"bend": 1}}}, "'round' is none of"),
        ("brute_force", {}, {}, "brute_force tries every point, and noise, rate, top have no number of values: fix them, or take"),
        ("cmaes", {}, {"trainable": "counted_curve", "space": {"fix": {"top": 3}}}, "numbers that every trial has, and this space has"),
        ("gp", {}, {"space": {"fix": {"top": 0.5, "rate": 0.1, "noise": 0.0}}}, "parameters that every trial has, and this space has"),
    ],
)  # fmt: skip
def test_what_no_sampler_can_do_is_refused(
    name: str, options: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    search = {"sampler": name, "sampler_options": options, "start_from": [], **changes.get("search", {})}
    with pytest.raises(InputError, match=message) as refused:
        make_sweep(**{**changes, "search": search})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ([], "`attrs` is of another type"),
        ({"study": 3}, "`attrs` has no 'study' of this kind"),
        ({"pickle": {}}, "`attrs` has no 'pickle' of this kind"),
        ({"trials": {"../x": {}}}, "`attrs` has 'trials' of what is no trial"),
        ({"told": {"3": "x"}}, "`attrs` has 'told' of what is no trial"),
    ],
)
def test_attributes_that_are_none(attrs: Any, message: str) -> None:
    event = {"event": "sampled", "time": 1.0, "trial": 0, "hparams": {}, "attrs": attrs}
    with pytest.raises(ValueError, match=message):
        parse_event(json.dumps(event).encode())


def test_a_forged_state_is_refused_in_one_line(tmp_path: Path, open_journal: OpenJournal) -> None:
    journal = open_journal(tmp_path / "j.jsonl")
    forged = {"study": {"cmaes:told:0": {"points": [["x"]], "losses": [0.0]}}}
    journal.append("sampled", trial=0, hparams={}, attrs=forged)
    journal.append("ended", trial=0, state="failed")
    with pytest.raises(RuntimeError, match=r"search\.sampler cmaes failed at trial 1: ValueError: "):
        Search(sweep_with("cmaes"), journal).next()


def said(name: str, **changes: Any) -> list[str]:
    search = {"sampler": name, "start_from": [], **changes.pop("search", {})}
    return [
        line
        for line in remarks(make_sweep(search=search, stop={"scheduler": "none"}, **changes))
        if "stop." not in line
    ]


def test_what_a_sampler_does_instead_is_said(tmp_path: Path) -> None:
    counted = {"trainable": "counted_curve"}
    assert "cmaes draws kind at random: it is no number" in said("cmaes", **counted)
    assert "cmaes draws bend at random: not every trial has it" in said("cmaes", **counted)
    assert "gp draws bend at random: not every trial has it" in said("gp", **counted)
    assert said("tpe", **counted) == said("qmc", **counted) == []
    options = {"sampler_options": {"points": {"top": 2}}}
    assert said("grid", search=options) == [
        "grid has no more to try after 18 trials: the sweep ends then, not after 30",
        "the grid: noise: 0, 0.025, 0.05, rate: 0.01, 0.07071, 0.5, top: 0.2, 0.95",
    ]
    assert "brute_force has no more to try after 28 trials" in said("brute_force", **counted)[0]
    older = {"start_from": [{"sweep": "old"}]}
    assert "without effect: search.start_from old, as the qmc sampler learns nothing" in said("qmc", search=older)
    assert any("draws its first 50 trials" in line for line in said("nsga2"))


@pytest.mark.parametrize(("name", "number"), [("grid", 28), ("brute_force", 28)])
def test_a_space_that_is_through_ends_the_sweep(
    tmp_path: Path, open_journal: OpenJournal, name: str, number: int
) -> None:
    """Every point once."""
    search = Search(sweep_with(name, start_from=[]), open_journal(tmp_path / "j.jsonl"))
    drive(search, 8)
    assert search.done()
    assert search.remaining == 0
    assert search.next() is None
    points = {json.dumps(trial.params, sort_keys=True) for trial in search.record.trials.values()}
    assert len(points) == len(search.record.trials) == number


def test_qmc_fills_the_space_from_the_first_trial_on(tmp_path: Path, open_journal: OpenJournal) -> None:
    """Each of 16 points of Sobol's sequence has its own sixteenth of every parameter, of those that few trials have, too."""
    sweep = sweep_with("qmc", num_trials=16, start_from=[])
    search = Search(sweep, open_journal(tmp_path / "j.jsonl"))
    drive(search, 8)
    for name, low, high in (("top", 0.2, 0.95), ("noise", 0.0, 0.05)):
        values = [(trial.params[name] - low) / (high - low) for trial in search.record.trials.values()]
        assert sorted(int(value * 16) for value in values) == list(range(16))


def quality(name: str, seed: int, num_trials: int, journal: Any) -> float:
    """Mean of the last ten values of a smooth surface; where a trial stops is no matter."""
    search = Search(sweep_with(name, seed=seed, num_trials=num_trials, start_from=[]), journal)
    values: list[float] = []
    while (assignment := search.next()) is not None:
        hparams = assignment.hparams
        far = ((hparams["top"] - 0.5) / 0.75) ** 2 + (math.log(hparams["rate"] / 0.1) / 4) ** 2
        values.append(1 - far)
        rows = [{"epoch": epoch, "val_macro_f1": values[-1]} for epoch in range(1, 7)]
        if not search.report(assignment.trial, rows, "running"):
            search.report(assignment.trial, [], "finished")
    return float(np.mean(values[-10:]))


@pytest.mark.parametrize("name", ["cmaes", "nsga2"])
def test_it_learns(tmp_path: Path, open_journal: OpenJournal, name: str) -> None:
    better = [
        quality(each, seed, 60, open_journal(tmp_path / f"{each}-{seed}.jsonl"))
        for each in (name, "random")
        for seed in range(3)
    ]
    assert np.mean(better[:3]) > np.mean(better[3:]) + 0.02
    assert min(better[:3]) > max(better[3:]) - 0.05


def test_cmaes_of_whole_numbers_with_margin(tmp_path: Path, open_journal: OpenJournal) -> None:
    sweep = make_sweep(
        trainable="counted_curve",
        search={"sampler": "cmaes", "sampler_options": {"with_margin": True, "popsize": 4}, "start_from": []},
        stop={"scheduler": "none", "max_epochs": 2, "grace_epochs": 1},
    )
    search = Search(sweep, open_journal(tmp_path / "j.jsonl"))
    drive(search, 1)
    tops = [trial.params["top"] for trial in search.record.trials.values()]
    assert set(tops) <= set(range(1, 8))
    assert np.mean(tops[-8:]) > np.mean(tops[:8]) + 1


@dataclass(frozen=True)
class ScoreAndEpochs:
    """A Goal: a high score in few epochs, of which there must not be more than four."""

    directions: tuple[str, ...] = ("maximize", "minimize")

    def values(self, trial: TrialRecord) -> list[float] | None:
        value = trial.value("val_macro_f1", "max")
        return None if value is None else [value, float(trial.num_epochs)]

    def constraints(self, trial: TrialRecord) -> dict[str, float]:
        return {"epochs": trial.num_epochs - 4.0}

    def curve(self, trial: TrialRecord) -> list[float]:
        return []

    def tried(self, trial: TrialRecord) -> Stretch:
        return trial.now


@pytest.mark.parametrize("name", [name for name, kind in sections.SAMPLERS.items() if kind.SEVERAL_OBJECTIVES])
def test_several_objectives_and_constraints(
    tmp_path: Path, open_journal: OpenJournal, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """They reach the sampler, of stopped trials, too."""
    monkeypatch.setattr(sampler, "goal_of", lambda sweep: ScoreAndEpochs())
    search = Search(sweep_with(name), open_journal(tmp_path / "j.jsonl"), older(sweep_with(name)))
    drive(search, 8)
    if name in ("random", "qmc"):  # which look at no trial
        return
    study = search.study()
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    stopped = next(
        trial for trial in search.record.trials.values() if trial.state == "stopped" and trial.number % 10 != 4
    )
    assert trials[stopped.number].values == [stopped.value("val_macro_f1", "max"), stopped.num_epochs]
    assert trials[stopped.number].constraints == {"epochs": stopped.num_epochs - 4.0}
    assert study.best_trials


def test_a_slow_suggestion_keeps_no_report_waiting(tmp_path: Path, open_journal: OpenJournal) -> None:
    """While it is made, in a thread, reports are recorded; it is written by who takes it, and is that of the moment it began."""
    begun, go = threading.Event(), threading.Event()
    search = Search(sweep_with(OWN), open_journal(tmp_path / "j.jsonl"))
    first = search.next()
    assert first is not None
    draw = search._sampler._draw

    def slowly(*arguments: Any) -> Any:
        begun.set()
        assert go.wait(60)
        return draw(*arguments)

    search._sampler._draw = slowly  # type: ignore[method-assign]
    assert search.next(wait=False) is None
    assert begun.wait(60)
    assert not search.report(first.trial, [{"epoch": 1, "val_macro_f1": 0.5}], "running")
    assert search.next(wait=False) is None
    kinds = [event["event"] for event in lines_of(tmp_path / "j.jsonl")]
    assert kinds == ["sampled", "report"]
    expected = Search(
        sweep_with(OWN), open_journal(tmp_path / "j.jsonl")
    ).next  # asks nobody: it goes on with the first
    assert expected() == Assignment(0, first.hparams, 1)
    go.set()
    second = search.next()
    assert second is not None
    assert second.trial == 1
    assert [event["event"] for event in lines_of(tmp_path / "j.jsonl")] == ["sampled", "report", "sampled"]
    search.making.begin(search.record, 2)
    search.making.drop()  # as when the driver ends: nothing was written
    assert len(lines_of(tmp_path / "j.jsonl")) == 3
