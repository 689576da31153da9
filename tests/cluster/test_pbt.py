"""Population Based Training: who copies whom, that a replayed journal decides the same, and what a copied net trains like."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.cluster.launch import launch
from fersweep.cluster.resume import resume
from fersweep.cluster.search.decisions import Search
from fersweep.cluster.worker.trial_settings import trial_settings
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.compare.trials import compare
from fersweep.results.promote import refit
from fersweep.results.record.checkpoints import Adopted, Foreign, place, read_epochs, saved, trial_seed
from fersweep.results.record.journal import read, read_events
from fersweep.results.record.optuna_study import study_of
from fersweep.results.record.ranking.lineage import best_schedule, copies, schedule_in_words, schedule_of
from fersweep.results.record.recorded_sweep import RecordedSweep, load_sweep
from fersweep.results.record.storage import Storage
from fersweep.results.record.timeline import Timeline
from fersweep.results.report.page import render
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables.curve import Curve, Hparams
from fersweep.trainables.saved_model import read_model
from tests.cluster.conftest import OpenJournal
from tests.cluster.test_search import bring_about, lines_of
from tests.one_trial import OneTrial
from tests.recorded import check_all_recorded, history

OPTIONS = {"interval": 2, "perturb": ["top", "rate"]}


def make_sweep(num_trials: int = 12, max_epochs: int = 7, **options: Any) -> Sweep:
    content: dict[str, Any] = {
        "name": "s",
        "trainable": "curve",
        "search": {"num_trials": num_trials, "seed": 3, "sampler": "random"},
        "stop": {"scheduler": "pbt", "scheduler_options": {**OPTIONS, **options}, "max_epochs": max_epochs},
    }
    return parse_sweep(content, "test")


def drive(search: Search, places: int) -> list[int]:
    """Run trials in so many places, one epoch a report in turns → the trials in the order in which they were handed out."""
    curves: dict[int, Curve] = {}
    order: list[int] = []
    while True:
        while len(curves) < places and (assignment := search.next()) is not None:
            curve = Curve(Hparams(**assignment.hparams), np.zeros((3, 1)), {"seed": assignment.trial})
            curve.epoch = assignment.known_epochs
            curves[assignment.trial] = curve
            order.append(assignment.trial)
        if not curves:
            return order
        for number, curve in list(curves.items()):
            row = curve.fit(1)
            if number == 7 and curve.epoch == 3 and not search.record.trials[7].retries:
                search.fault(number, "trial", "its process died")
                del curves[number]
            elif search.report(number, row, "finished" if curve.epoch == search.sweep.stop.max_epochs else "running"):
                del curves[number]


@pytest.mark.parametrize("places", [2, 12])
def test_killed_after_every_event_it_decides_as_one_that_never_was(
    tmp_path: Path, open_journal: OpenJournal, places: int
) -> None:
    sweep, whole, cut = make_sweep(), tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    search = Search(sweep, open_journal(whole))
    drive(search, places)
    assert all(trial.num_epochs == 7 for trial in search.record.trials.values())
    assert {trial.state for trial in search.record.trials.values()} == {"finished"}
    events, lines = lines_of(whole), whole.read_bytes().splitlines(keepends=True)
    kinds = [event["event"] for event in events]
    assert kinds.count("exploited") >= 3
    assert kinds.count("exploited") + kinds.count("compared") == 12 * 3
    for k, event in enumerate(events):
        cut.write_bytes(b"".join(lines[:k]) + lines[k][: len(lines[k]) * (k % 3) // 3])
        search = Search(sweep, open_journal(cut))
        search.settle()
        bring_about(search, event)
        written = lines_of(cut)
        assert len(written) > k
        assert written == events[: len(written)], f"after event {k}"


@pytest.fixture(scope="module")
def population(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_dataset: Path,
    empty_store: Path,
    ray_session: None,
    recorded_here: None,
) -> RecordedSweep:
    """A sweep on Ray: two places, five trials."""
    home = tmp_path_factory.mktemp("population") / "runs"
    home.mkdir()
    shutil.copy(empty_store, home)
    content = {**make_sweep(5).model_dump(mode="json"), "name": "pbt"}
    assert launch(parse_sweep(content, "test"), tiny_dataset, home).state == "finished"
    return load_sweep(home / "sweeps" / "pbt")


def test_a_real_sweep_copies_checkpoints_and_takes_turns(population: RecordedSweep) -> None:
    """The curve's scores say which hparams an epoch was trained with."""
    trials = population.record.trials
    assert [trial.num_epochs for trial in trials.values()] == [7] * 5
    assert any(trial.exploits for trial in trials.values())
    for number, trial in trials.items():
        assert trial.compared_at == 6
        for epoch, row in enumerate(trial.epochs, 1):
            curve = Curve(Hparams(**trial.at(epoch).hparams), np.zeros((3, 1)), {"seed": trial_seed(3, number)})
            curve.epoch = epoch - 1
            assert row["val_macro_f1"] == curve.fit(1)[0]["val_macro_f1"]
        assert population.best_checkpoint(trial) is not None
        assert len(saved(population.storage, number)) <= 2  # the best, and the last
        assert population.val_predictions(trial) is not None


def test_what_led_to_a_trial_is_told_everywhere(population: RecordedSweep, tmp_path: Path) -> None:
    sweep, trials, directory = population.sweep, population.record.trials, population.directory
    runs = check_all_recorded(directory)
    for trial in trials.values():
        run = runs[trial.name]
        assert run.data.params["rate"] == str(trial.params["rate"])  # MLflow's never change
        assert run.data.tags.get("fersweep.lineage", "") == copies(trial)
        rates = [(epoch, trial.at(epoch).params["rate"]) for epoch in range(1, 8)]
        assert history(directory, run, "hparam/rate") == rates
    moved = next(trial for trial in trials.values() if trial.exploits)
    steps = schedule_of(trials, moved, 7)
    assert [step.first for step in steps[1:]] == [step.last + 1 for step in steps[:-1]]
    assert (steps[0].first, steps[-1].last, steps[-1].hparams) == (1, 7, moved.now.hparams)
    assert steps[-2].trial == moved.exploits[-1].donor
    assert f"{steps[-1].epochs} in trial {moved.name}: " in schedule_in_words(sweep, steps)
    page = render(directory)
    assert "Lineage" in page
    assert f"The schedule of the best trial, {population.ranked()[0].name}" in page
    timeline = Timeline(read_events(directory / "journal.jsonl"))
    assert timeline.num_at_once <= 2
    assert any("went on from another one's checkpoint (PBT)" in note for note in compare(directory).notes)
    study = study_of(population.record, sweep.metric, sweep.mode).trials
    assert study[moved.number].params == moved.at_best(sweep.metric, sweep.mode).params

    refit._main([str(directory), str(moved.number), "0", str(tmp_path / "refit")])
    model, best = read_model(tmp_path / "refit"), best_schedule(sweep, trials, moved)
    assert (model["epoch"], model["hparams"]) == (best[-1].last, best[-1].hparams)


@pytest.mark.usefixtures("recorded_here")
def test_a_population_stays_as_it_began(population: RecordedSweep) -> None:
    with pytest.raises(InputError, match=r"the population of a pbt sweep stays as it began, 5"):
        resume(population.directory, trials="+2")


def test_a_trial_goes_on_from_a_copy_and_takes_it_again(tmp_path: Path, tiny_dataset: Path) -> None:
    """Killed before its first own checkpoint, and after it; its old checkpoints, of other hparams, stay its own."""
    arrays, old, new = Task(tiny_dataset).arrays(), {"top": 0.3}, {"top": 0.8}
    settings = replace(
        trial_settings(make_sweep(2), tmp_path, Storage(tmp_path), "an-id"), rungs=(2,), report_s=0.0, max_epochs=5
    )
    for number, hparams in enumerate((old, {"top": 0.9})):
        session = OneTrial(settings, arrays, number, hparams, 0)
        session.run()
        session.run()
    rows, copied = session_rows(tmp_path, 0), Adopted(1, 2, {"top": 0.9})
    with pytest.raises(Foreign, match=r"not of trial 0001, but of other hparams \(top 0.9, not 0.7\)"):
        OneTrial(settings, arrays, 0, new, 2, ((2, old),), replace(copied, hparams={"top": 0.7}))
    for _ in range(2):  # killed in between
        session = OneTrial(settings, arrays, 0, new, 2, ((2, old),), copied)
        assert (session.epochs, session.trainable.epoch, session.notes) == (rows, 2, [])
    assert session.run().epochs[0]["val_macro_f1"] == pytest.approx(0.8 * (1 - np.exp(-0.3)))
    again = OneTrial(settings, arrays, 0, new, 3, ((2, old),), copied)
    assert (len(again.epochs), again.notes) == (3, [])
    assert saved(settings.storage, 0) == [1, 2, 3]


def session_rows(directory: Path, trial: int) -> list[dict[str, float]]:
    return read_epochs(directory / place(trial, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"num_trials": 1}}, "search.num_trials: 1, but pbt compares trials: want 2 or more"),
        ({"stop": {"max_epochs": 2}}, "interval: 2 must be below stop.max_epochs, 2"),
        ({"stop": {"scheduler_options": {"perturb": ["tops"]}}}, "cannot change 'tops' .* did you mean 'top'"),
        (
            {"stop": {"scheduler_options": {"quantile": 0.7}}},
            "stop.scheduler_options.quantile: .*less than or equal to 0.5",
        ),
        (
            {"space": {"fix": {"top": 0.5}}},
            "cannot change 'top' while a trial trains, or it is not searched; .*noise, rate",
        ),
        ({"trainable": "faulty_curve"}, "pbt changes hparams while a trial trains, which faulty_curve cannot do"),
        ({"then": {"best": 1}}, "then.best: 1, but pbt compares trials"),
    ],
)
def test_what_cannot_be_a_population(changes: dict[str, Any], message: str) -> None:
    content = make_sweep().model_dump(mode="json")
    for key, value in changes.items():
        content[key] = {**(content[key] or {}), **value} if isinstance(value, dict) else value
    content["stop"]["scheduler_options"] = {**OPTIONS, **content["stop"]["scheduler_options"]}
    with pytest.raises(InputError, match=message):
        parse_sweep(content, "test")


def test_a_copied_point_stays_in_the_space(tmp_path: Path, open_journal: OpenJournal) -> None:
    """Each perturbed value is a factor's, or drawn anew; those that are not named stay the donor's."""
    search = Search(make_sweep(8, factors=[0.1, 10.0], resample=0.5), open_journal(tmp_path / "j.jsonl"))
    drive(search, 3)
    copied = [(trial, stretch) for trial in search.record.trials.values() for stretch in trial.exploits]
    assert len(copied) >= 4
    times = list[float]()
    for _, stretch in copied:
        before = search.record.trials[stretch.donor or 0].at(stretch.first - 1).params
        after = stretch.params
        assert after["noise"] == before["noise"]
        assert 0.2 <= after["top"] <= 0.95
        assert 0.01 <= after["rate"] <= 0.5
        times += [after[name] / before[name] for name in ("top", "rate")]
    assert any(abs(factor - 0.1) < 1e-9 for factor in times) or any(factor not in (0.1, 10.0) for factor in times)


def test_trials_that_get_more_epochs_copy_none_that_stay_ended(tmp_path: Path, open_journal: OpenJournal) -> None:
    """`resume --max-epochs`: their checkpoints are gone. The last epoch of all is now one at which trials are compared."""
    path = tmp_path / "j.jsonl"
    drive(Search(make_sweep(9, 4), open_journal(path)), 3)
    search = Search(make_sweep(9, 7), open_journal(path))
    for number in range(4):
        search.journal.append("reopened", trial=number)
    drive(search, 2)
    assert [trial.num_epochs for trial in search.record.trials.values()] == [7] * 4 + [4] * 5
    donors = [s.donor for t in search.record.trials.values() for s in t.exploits if s.first > 4]
    assert donors
    assert {*donors} <= {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"donor": 9}, "its donor, trial 9, was not sampled before"),
        ({"donor": 0}, "`donor` is missing, or no other trial's number"),
        ({"at_epoch": "2"}, "`at_epoch` is missing, or no epoch"),
        ({"donor_epoch": None}, "`donor_epoch` is missing, or no epoch"),
        ({"hparams": None}, "`hparams` is missing"),
        ({"distributions": {"top": 3}}, "`distributions` has none of `top`"),
    ],
)
def test_a_damaged_copy_is_no_event(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    sampled = [{"event": "sampled", "time": 1, "trial": number, "hparams": {}} for number in (0, 1)]
    copy = {"event": "exploited", "time": 2, "trial": 0, "at_epoch": 2, "donor": 1, "donor_epoch": 2, "hparams": {}}
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in (*sampled, {**copy, **change})))
    with pytest.raises(InputError, match=message):
        read(path)
