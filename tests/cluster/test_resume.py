"""A sweep that goes on: extended, moved, with a changed mind, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from fersweep import search_spaces
from fersweep.cluster.launch import dry, launch
from fersweep.cluster.launch_or_resume import launch_or_resume
from fersweep.cluster.resume import resume
from fersweep.cluster.search.decisions import Search
from fersweep.common.errors import InputError
from fersweep.results.housekeeping.renaming import mv
from fersweep.results.record import checkpoints, journal
from fersweep.results.record.home import find_sweep
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from fersweep.results.tracking import lag
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables import curve
from tests.cluster.conftest import OpenJournal
from tests.processes import write_curve
from tests.recorded import check_all_recorded, run_ids

pytestmark = pytest.mark.usefixtures("ray_session", "recorded_here")


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_dataset: Path,
    empty_store: Path,
    ray_session: None,
    recorded_here: None,
) -> Path:
    """The home of a finished sweep of 8 trials of at most 9 epochs, with its dataset."""
    place = tmp_path_factory.mktemp("finished")
    data = shutil.copytree(tiny_dataset, place / "runs" / "data" / "tiny")
    shutil.copy(empty_store, place / "runs")
    sweep = read_sweep(str(write_curve(place / "c.yaml", trials=8, epochs=9, cpus=2)), [])
    assert launch(sweep, data, place / "runs").state == "finished"
    return place / "runs"


@pytest.fixture
def directory(tmp_path: Path, finished: Path) -> Path:
    """A copy of that sweep, in a home that knows no other place."""
    home = shutil.copytree(finished, tmp_path / "runs")
    file = home / "sweeps" / "c" / "sweep.json"
    file.write_text(file.read_text().replace(str(finished), str(home)))
    return file.parent


def read(directory: Path) -> SweepRecord:
    return journal.read(directory / "journal.jsonl")


def test_under_another_name(directory: Path) -> None:
    """A sweep that is renamed goes on in its runs."""
    ids = run_ids(directory)
    renamed = mv("c", "d", directory.parents[1]).directory
    assert resume(renamed, trials="+1").state == "finished"
    assert ids.items() < run_ids(renamed).items()
    assert len(check_all_recorded(renamed)) == len(ids) + 1


def test_more_trials(directory: Path) -> None:
    before, ids = read(directory).trials, run_ids(directory)
    assert resume(directory, trials="+4").state == "finished"
    assert load_sweep(directory).sweep.asked.search.num_trials == 12
    after = read(directory)
    assert len(after.trials) == 12
    assert {n: t for n, t in after.trials.items() if n < 8} == before
    assert check_all_recorded(directory).keys() >= ids.keys()
    assert run_ids(directory).items() >= ids.items()
    with pytest.raises(InputError, match="--trials 5: the sweep has 12 trials already"):
        resume(directory, trials="5")
    with pytest.raises(InputError, match=r"--trials more: want how many in all"):
        resume(directory, trials="more")


def test_more_epochs(directory: Path) -> None:
    """Those that had all their epochs and whose checkpoint was kept go on from it; the others stay as they were."""
    recorded = load_sweep(directory)
    before = recorded.record
    kept = [t.number for t in recorded.kept_trials() if t.state == "finished"]
    assert kept
    assert resume(directory, max_epochs=30).state == "finished"
    after = read(directory)
    for number, trial in after.trials.items():
        assert trial.epochs[: before.trials[number].num_epochs] == before.trials[number].epochs
        if number not in kept:
            assert trial.num_epochs == before.trials[number].num_epochs
    assert max(trial.num_epochs for trial in after.trials.values()) == 30
    check_all_recorded(directory)
    events = len(list(journal.read_events(directory / "journal.jsonl")))
    assert resume(directory).state == "finished"  # and again: nothing left to do
    assert len(list(journal.read_events(directory / "journal.jsonl"))) == events + 2
    with pytest.raises(InputError, match="--max-epochs 12: a trial has trained 30 epochs already"):
        resume(directory, max_epochs=12)


@pytest.mark.usefixtures("nothing_is_recorded")
def test_what_the_trials_rest_on_cannot_change(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (directory / "sweep.json").read_bytes()
    for override, message in [
        ("space.fix.noise=0.01", r"space\.fix\.noise is 0\.02 in sweep 'c', not 0\.01: .*start_from: {sweep: c}"),
        ("task.balance=20", r"task\.balance is null in sweep 'c', not 20"),
        ("stop.reduction=4", r"stop\.reduction is 3 in sweep 'c', not 4"),
        ("search.seed=4", r"search\.seed is 3"),
        ("stop.max_epoch=4", "did you mean 'max_epochs'"),
    ]:
        with pytest.raises(InputError, match=message):
            resume(directory, overrides=[override])
    with monkeypatch.context() as patch:
        patch.setattr(
            search_spaces.load("curve"),
            "space",
            lambda trial: {
                "top": trial.suggest_float("top", 0.5, 0.6),
                "rate": 0.1,
                "noise": trial.suggest_float("noise", 0, 0.1),
            },
        )
        with pytest.raises(
            InputError,
            match=r"search_spaces/curve\.py has changed since sweep 'c' was launched: rate was Float\(low=0\.01, high=0\.5, log=True\), is not there",
        ):
            resume(directory, trials="+1")
    assert (directory / "sweep.json").read_bytes() == content
    assert (
        resume(directory, overrides=["resources.cpus=1", "failures.max_retries=0", "keep_checkpoints=1"]).state
        == "finished"
    )
    assert len(list(directory.glob("trials/*/epoch-*/state.npz"))) <= 2


def test_what_came_from_outside_must_be_what_it_was(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the weights of a backbone, of which sweep.json has the sha256."""
    told: list[dict[str, str]] = []

    def fetch(_hparams: list[dict[str, Any]]) -> dict[str, str]:
        raise InputError("weights: another sha256")

    monkeypatch.setattr(curve, "expect", told.append, raising=False)
    monkeypatch.setattr(curve, "fetch", fetch, raising=False)
    path = directory / "sweep.json"
    before = json.dumps(json.loads(path.read_text()) | {"fetched": {"imagenet of x": "0" * 64}})
    path.write_text(before)
    with pytest.raises(InputError, match="another sha256"):
        resume(directory, trials="+1")
    assert told == [{"imagenet of x": "0" * 64}]
    assert path.read_text() == before


def test_a_home_that_was_moved(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its dataset and its MLflow store, and resumed from another directory, twice."""
    ids = run_ids(directory)
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    moved = find_sweep(Path("../elsewhere"), "c")
    assert resume(moved, trials="10").state == "finished"
    assert resume(moved, trials="12").state == "finished"
    assert run_ids(moved).items() >= ids.items()
    check_all_recorded(moved)
    assert not (tmp_path / "runs").exists()
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.usefixtures("nothing_is_recorded")
def test_a_dataset_that_was_moved_or_changed(directory: Path, tmp_path: Path) -> None:
    shutil.move(tmp_path / "runs" / "data" / "tiny", tmp_path / "there")
    with pytest.raises(InputError, match="is no finished dataset"):
        resume(directory, trials="+1")
    assert resume(directory, trials="+1", data=tmp_path / "there").state == "finished"
    manifest = json.loads((tmp_path / "there" / "manifest.json").read_text())
    (tmp_path / "there" / "manifest.json").write_text(json.dumps({**manifest, "fingerprint": "f" * 64}))
    with pytest.raises(InputError, match="its fingerprint ffffffffffff is not that of the data"):
        resume(directory, trials="+1")


def test_the_best_checkpoints_of_the_sweep_are_kept(directory: Path) -> None:
    recorded = load_sweep(directory)
    record, kept = recorded.record, recorded.kept_trials()
    assert len(kept) == 5
    for trial in record.trials.values():
        best = trial.best("val_macro_f1", "max")
        wanted = {int(best["epoch"])} | ({trial.num_epochs} if trial.state == "finished" else set()) if best else set()
        assert checkpoints.saved(Storage(directory), trial.number) == sorted(wanted if trial in kept else set())
        assert (directory / "trials" / trial.name / checkpoints.PREDICTIONS).exists()
    lost = next(t.number for t in record.trials.values() if t not in kept)
    with pytest.raises(InputError, match=f"trial {lost} of sweep 'c' has no checkpoint: those of the best 5 are kept"):
        recorded.choose_trial(lost)
    assert recorded.choose_trial(None)[0] is kept[0]


def start_from(tmp_path: Path, older: Any, **changes: Any) -> Sweep:
    path = write_curve(tmp_path / "new.yaml", **{"trials": 3, "epochs": 9, "cpus": 2, **changes})
    sweeps = list((tmp_path / "runs" / "sweeps").iterdir())
    return read_sweep(str(path), [f"search.start_from={older}"], name=f"new-{len(sweeps)}")


def test_a_new_sweep_learns_from_an_older_one(directory: Path, tmp_path: Path, open_journal: OpenJournal) -> None:
    """Where the new space still holds its trials; they are no trials of the new sweep."""
    home, data = tmp_path / "runs", tmp_path / "runs" / "data" / "tiny"
    record = read(directory)
    median = sorted(trial.params["top"] for trial in record.trials.values())[4]
    sweep = start_from(tmp_path, "{sweep: c}", range=f"top: [{median}, 0.95]", fix="noise: 0.02")
    with pytest.raises(InputError, match="none of the 8 trials of sweep 'c'"):
        dry(start_from(tmp_path, "{sweep: c}", range="top: [0.2, 0.2]"), data, home)
    with pytest.raises(InputError, match="none of the 8 trials of sweep 'c' is in the space"):
        dry(start_from(tmp_path, "{sweep: c}", fix="noise: 0.01"), data, home)
    assert "learns from 8 trials of sweep c" in dry(start_from(tmp_path, "{sweep: c}", fix=""), data, home).facts
    assert "learns from 4 trials of sweep c" in dry(sweep, data, home).facts
    new = launch(sweep, data, home).directory
    recorded = load_sweep(new)
    assert len(recorded.record.trials) == 3
    study = Search(sweep, open_journal(new / "journal.jsonl"), recorded.sweep.history).study()
    states = [trial.state for trial in study.trials]
    assert len(states) == 4 + 3
    assert optuna.trial.TrialState.RUNNING not in states
    taken = [trial for trial in record.trials.values() if trial.params["top"] >= median]
    assert [trial.params["top"] for trial in study.trials[:4]] == [trial.params["top"] for trial in taken]
    assert [trial.value for trial in study.trials[:4]] == [trial.value("val_macro_f1", "max") for trial in taken]
    check_all_recorded(new)
    for older, message in [
        ("{sweep: nowhere}", "no sweep 'nowhere'"),
        ("[{swep: c}]", "start_from"),
    ]:
        with pytest.raises(InputError, match=message):
            dry(start_from(tmp_path, older), data, home)
    with pytest.raises(InputError, match="sweep 'c' has trainable 'curve', not 'faulty_curve'"):
        dry(start_from(tmp_path, "{sweep: c}", trainable="faulty_curve"), data, home)


def test_launch_or_resume(directory: Path) -> None:
    """What a scheduler runs again and again: it launches, goes on, leaves a finished sweep, and refuses another one."""
    home, data = directory.parents[1], directory.parents[1] / "data" / "tiny"
    asked = load_sweep(directory).sweep.asked
    before = read(directory)
    assert launch_or_resume(asked, data, home).state == "finished"
    assert read(directory).trials == before.trials
    more = asked.model_copy(update={"search": asked.search.model_copy(update={"num_trials": 9})})
    assert launch_or_resume(more, data, home).state == "finished"
    assert len(read(directory).trials) == 9
    assert launch_or_resume(asked, data, home).state == "finished", "it was extended since the file was written"
    other = asked.model_copy(update={"stop": asked.stop.model_copy(update={"reduction": 4})})
    with pytest.raises(InputError, match=r"stop\.reduction is 3 in sweep 'c', not 4"):
        launch_or_resume(other, data, home)
    assert load_sweep(directory).sweep.asked == more
    new = asked.model_copy(update={"name": "new", "search": asked.search.model_copy(update={"num_trials": 1})})
    states: list[str] = []
    thread = threading.Thread(target=lambda: states.append(launch_or_resume(new, data, home).state))
    thread.start()
    thread.join()
    assert states == ["finished"], "in a thread of another program, which has its own signals"


def test_a_driver_on_another_machine_that_shares_the_directory(directory: Path) -> None:
    path = directory / "journal.jsonl"
    event = {"event": "session", "action": "started", "time": 0, "pid": 7, "host": "elsewhere"}
    path.write_text(path.read_text() + json.dumps(event) + "\n")
    (directory / "heartbeat").touch()
    with pytest.raises(InputError, match=r"process 7 on elsewhere ran this sweep \d s ago; stop it"):
        resume(directory)
    os.utime(directory / "heartbeat", (0, 0))
    assert resume(directory).state == "finished"


@pytest.mark.usefixtures("nothing_is_recorded")
def test_a_journal_that_is_older_than_its_trials(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A restored backup: the next trial 0007 is another one than the one that has left its files."""
    path, recorded = directory / "journal.jsonl", load_sweep(directory)
    lines = path.read_bytes().splitlines(keepends=True)
    sampled = next(n for n, line in enumerate(lines) if json.loads(line).get("trial") == 7)
    path.write_bytes(b"".join(line for line in lines[:sampled]))
    trial = recorded.record.trials[7]
    owner = replace(recorded.owner(trial), hparams={**trial.hparams, "rate": 9.0})
    model = curve.build({**trial.hparams, "rate": 9.0}, recorded.sweep.task().arrays(), owner.seed)
    shutil.rmtree(directory / "trials" / "0007")
    checkpoints.save(Storage(directory), 7, model, model.fit(9), owner)
    assert resume(directory).state == "finished"
    err = capsys.readouterr().err
    assert "note: 1 trials have files, and the journal does not know them (0007 to 0007)" in err
    assert err.count("trials/0007: epoch-0009 of other hparams (rate 9.0, not ") == 1
    after = load_sweep(directory).record.trials[7]
    assert after.epochs[0]["val_macro_f1"] < model.fit(1)[0]["val_macro_f1"]
    assert (directory / "trials" / "0007.foreign-1" / "epoch-0009" / "state.npz").exists()


def test_a_sweep_without_its_journal_does_not_start_over(directory: Path) -> None:
    before = sorted(directory.rglob("*"))
    for lose in (lambda path: path.write_bytes(b""), Path.unlink):
        lose(directory / "journal.jsonl")
        with pytest.raises(
            InputError, match=r"c: its journal is missing, but .* files of 8 trials; put a copy of journal"
        ):
            resume(directory)
    assert {*before} - {*directory.rglob("*")} == {directory / "journal.jsonl"}
    assert not {*directory.rglob("*")} - {*before}


@pytest.mark.usefixtures("nothing_is_recorded")
def test_other_versions_are_said(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = directory / "sweep.json"
    content = json.loads(path.read_text())
    ray = content["versions"]["ray"]
    path.write_text(json.dumps({**content, "versions": {**content["versions"], "ray": "1.0"}}))
    assert resume(directory).state == "finished"
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "launched with" in line)
    assert line == f"note: c was launched with ray 1.0, now {ray}: its trials so far are of that code"


def test_another_place_for_the_records(directory: Path, tmp_path: Path, empty_store: Path) -> None:
    """A finished sweep is recorded anew there, by the trials' journal; what is no address is refused, and changes nothing."""
    content = (directory / "sweep.json").read_bytes()
    for uri, message in [("mlruns", "a path is no address"), ("http://u:p@h", r"http://\*\*\*@h holds a password")]:
        with pytest.raises(InputError, match=message):
            resume(directory, overrides=[f"tracking.uri={uri}"])
    assert (directory / "sweep.json").read_bytes() == content
    before = run_ids(directory)
    shutil.copy(empty_store, tmp_path / "elsewhere.db")
    assert resume(directory, overrides=[f"tracking.uri=sqlite:///{tmp_path}/elsewhere.db"]).state == "finished"
    runs = check_all_recorded(directory)
    assert runs.keys() == before.keys()
    assert not {run.info.run_id for run in runs.values()} & set(before.values())
    assert lag.missing(directory) is None
