"""Sweeps whose workers train several trials at once, on Ray: the same trials as one at a time, and what breaks them."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from fersweep.cluster.launch import dry, launch
from fersweep.cluster.resume import resume
from fersweep.common.errors import InputError
from fersweep.results.dashboards.status import status
from fersweep.results.dashboards.tables import render
from fersweep.results.record import checkpoints, journal
from fersweep.results.record.journal import SweepRecord
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from fersweep.results.record.timeline import Timeline
from fersweep.search_spaces.sweep_file.consistency import remarks
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.cluster.test_crash import check_journal, results
from tests.cluster.test_faults import FAULTY, faulty
from tests.processes import UNRECORDED, below, num_lines, run, start, wait_until, write_curve

SLOW = "noise: 0.02, fault: none, fault_at: 1, epoch_s: 0.05"


def swept(tmp_path: Path, dataset: Path, name: str, *overrides: str, **changes: Any) -> tuple[Path, SweepRecord]:
    """A sweep over curves, run to its end → its directory and record."""
    path = write_curve(tmp_path / f"{name}.yaml", **changes)
    outcome = launch(read_sweep(str(path), list(overrides)), dataset, tmp_path / "runs")
    assert outcome.state == "finished", outcome.error
    return outcome.directory, journal.read(outcome.directory / "journal.jsonl")


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_a_fused_sweep_has_the_trials_of_one_that_is_not(tmp_path: Path, tiny_dataset: Path, sampler: str) -> None:
    asked = {"sampler": sampler, "trials": 10, "epochs": 4}
    found = {
        fuse: swept(tmp_path, tiny_dataset, f"f{fuse}", "stop.scheduler=none", fuse=fuse, **asked) for fuse in (1, 4)
    }
    (one, alone), (fused, together) = found[1], found[4]
    assert results(fused / "journal.jsonl") == results(one / "journal.jsonl")
    assert (alone.fused, together.fused) == (1, 4)
    answers = [checkpoints.read_predictions(Storage(directory), 7) for directory in (one, fused)]
    assert (answers[0][1] == answers[1][1]).all()  # type: ignore[index]
    (said, _) = status(tmp_path / "runs", "f4"), status(tmp_path / "runs", "f1")
    assert said[0].fused == 4
    text = render(said, tmp_path / "runs").renderables  # type: ignore[union-attr]
    assert "f4: up to 4 trials at once in each worker" in map(str, text)


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_asha_judges_each_member_by_itself(tmp_path: Path, tiny_dataset: Path) -> None:
    directory, record = swept(tmp_path, tiny_dataset, "c", fuse=4, trials=24)
    check_journal(directory / "journal.jsonl", 24)
    assert record.count()["stopped"] > 4
    assert record.count()["failed"] == 0


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_pbt_copies_among_members(tmp_path: Path, tiny_dataset: Path) -> None:
    options = "stop.scheduler_options={interval: 2, perturb: [top, rate]}"
    path = write_curve(tmp_path / "p.yaml", sampler="random", trials=8, epochs=7, fuse=4)
    sweep = read_sweep(str(path), ["stop.scheduler=pbt", options])
    outcome = launch(sweep, tiny_dataset, tmp_path / "runs")
    assert outcome.state == "finished", outcome.error
    events = list(journal.read_events(outcome.directory / "journal.jsonl"))
    kinds = [event["event"] for event in events]
    assert kinds.count("exploited") >= 2
    assert kinds.count("exploited") + kinds.count("compared") == 8 * 3
    for trial in journal.read(outcome.directory / "journal.jsonl").trials.values():
        assert (trial.state, [row["epoch"] for row in trial.epochs]) == ("finished", list(range(1, 8)))


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_what_breaks_a_worker_fails_its_own_trial_alone(
    tmp_path: Path, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """NaN is a trial's own failure at once. For the others nobody knows at first whose fault it was."""
    faults = "none, nan, memory, error, kill"
    _, record = faulty(tmp_path, tiny_dataset, faults, trials=8, seed=27, fuse=3)
    reasons = {
        "nan": "train_loss is nan at epoch 3",
        "memory": "out of memory: Unable to allocate",
        "error": "LookupError: something that nobody foresaw at epoch 3 (3 attempts)",
        "kill": r"its process died; its last line: last words\x07 (3 attempts)",
    }
    for trial in record.trials.values():
        fault = trial.hparams["fault"]
        assert trial.num_epochs == (6 if fault == "none" else 2)
        assert (trial.state, str(trial.reason).startswith(reasons.get(fault, "None"))) == (
            "finished" if fault == "none" else "failed",
            True,
        ), trial.reason
    assert {trial.hparams["fault"] for trial in record.trials.values()} == {"none", *reasons}
    assert "which trained at once: " in capsys.readouterr().err


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_a_hang_fails_its_own_trial_alone_and_says_where(tmp_path: Path, tiny_dataset: Path) -> None:
    asked = {"trainable": "faulty_curve", "fix": FAULTY, "range": "fault: [none, hang]", "sampler": "random", "seed": 8}
    shape = {"trials": 3, "epochs": 6, "timeout_s": 2, "cpus": 2, "fuse": 3}
    once = ("stop.scheduler=none", "failures.max_retries=1")
    directory, record = swept(tmp_path, tiny_dataset, "h", *once, **asked, **shape)
    (hung,) = [trial for trial in record.trials.values() if trial.hparams["fault"] == "hang"]
    assert hung.reason == f"hung: no report in 2 s (trials/{hung.name}/hang.txt says where)"
    assert "faulty_curve.py" in (directory / "trials" / hung.name / "hang.txt").read_text()
    assert record.count()["finished"] == 2
    first = next(event for event in journal.read_events(directory / "journal.jsonl") if event["event"] == "fault")
    assert "trials/0000/hang-of-several.txt says where" in first["reason"]
    assert "faulty_curve.py" in (directory / "trials/0000/hang-of-several.txt").read_text()


def launched(tmp_path: Path, dataset: Path, home: Path, address: str, **changes: Any) -> tuple[Any, Path]:
    """A fused sweep in a process of its own → the process, the path of its journal."""
    asked = {"trainable": "faulty_curve", "fix": SLOW, "trials": 12, "fuse": 4, **changes}
    sweep = write_curve(tmp_path / "c.yaml", **asked)
    process = start("launch", sweep, "--data", dataset, "--address", address, home=home, env=UNRECORDED)
    return process, home / "sweeps" / "c" / "journal.jsonl"


def test_workers_and_a_driver_that_are_killed_lose_nothing(
    tmp_path: Path, tiny_dataset: Path, home: Path, ray_address: str
) -> None:
    """A worker's death breaks off all its trials, each of which goes on from its own checkpoint."""
    process, path = launched(tmp_path, tiny_dataset, home, ray_address)
    wait_until(lambda: num_lines(path) > 20 and below(os.getpid(), "ray::_Inner"), process)
    for pid in below(os.getpid(), "ray::_Inner"):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: num_lines(path) > 60, process)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert re.search(
        r"trials \d{4}(, \d{4})+, which trained at once: its process died.*; they go on from their", err
    ), err
    run("resume", "c", "--address", ray_address, home=home, env=UNRECORDED)
    record = check_journal(path, 12)
    assert record.count()["failed"] == 0
    assert sum(trial.retries for trial in record.trials.values()) >= 2


def test_a_stop_has_every_member_save_and_report(
    tmp_path: Path, tiny_dataset: Path, home: Path, ray_address: str
) -> None:
    """Members report at other times: those that have not just reported are asked to. It goes on with one trial a worker, and
    then with several again.
    """
    process, path = launched(tmp_path, tiny_dataset, home, ray_address, epochs=60)
    wait_until(lambda: num_lines(path) > 40, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    record, storage = journal.read(path), Storage(path.parent)
    running = [trial for trial in record.trials.values() if trial.state == "running"]
    assert len(running) > 2
    for trial in running:
        assert max(checkpoints.saved(storage, trial.number), default=0) == trial.num_epochs
    options = ("--address", ray_address, "--set", "stop.report_s=0.2")
    process = start("resume", "c", *options, "--set", "resources.fuse=1", home=home, env=UNRECORDED)
    before = num_lines(path)
    wait_until(lambda: num_lines(path) > before + 10, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    run("resume", "c", *options, "--set", "resources.fuse=4", home=home, env=UNRECORDED)
    check_journal(path, 12)
    assert [event.get("fused") for event in journal.read_events(path) if event.get("action") == "started"] == [
        4,
        None,
        4,
    ]


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_an_older_sweep_goes_on_with_one_trial_a_worker(tmp_path: Path, tiny_dataset: Path) -> None:
    directory, _ = swept(tmp_path, tiny_dataset, "old", fuse=4, trials=4, epochs=3)
    place = directory / "sweep.json"
    place.write_text(place.read_text().replace('"fuse": 4', '"accelerator": null'))
    assert load_sweep(directory).sweep.asked.resources.fuse == 1
    again = read_sweep(str(tmp_path / "old.yaml"), [])
    assert again.resources.fuse == 4
    resume(directory, trials="+1")
    assert load_sweep(directory).sweep.asked.resources.fuse == 1
    (tmp_path / "old.yaml").write_text((tmp_path / "old.yaml").read_text().replace(", fuse: 4", ""))
    silent = read_sweep(str(tmp_path / "old.yaml"), ["search.num_trials=6"])
    assert silent.resources.fuse == "auto"
    resume(directory, asked=silent)
    assert load_sweep(directory).sweep.asked.resources.fuse == 1


def test_a_worker_with_several_trials_is_one_worker(tmp_path: Path) -> None:
    """What its time was spent in is counted once, and each of its trials has a lane of its own."""
    events: list[dict[str, Any]] = [{"event": "session", "time": 0.0, "action": "started", "fused": 2}]
    events += [{"event": "sampled", "time": 0.0, "trial": trial, "hparams": {}} for trial in (0, 1, 2)]
    for at, trial, pid, epochs in ((4.0, 0, 1, 2), (4.0, 1, 1, 2), (4.0, 2, 2, 1), (8.0, 1, 1, 4)):
        rows = [{"epoch": epoch, "epoch_s": 1.0} for epoch in range(1 if at == 4.0 else 3, epochs + 1)]
        worker = {"host": "node-1", "pid": pid, "cpu_percent": 1.0, "rss_bytes": 1}
        events.append({"event": "report", "time": at, "trial": trial, "epochs": rows, "worker": worker})
        if (at, trial) != (4.0, 1):
            events.append({"event": "ended", "time": at, "trial": trial, "state": "finished"})
    timeline = Timeline(events)
    assert (timeline.num_at_once, timeline.num_workers) == (3, 2)
    assert [lane for _, lane in timeline.lanes()] == ["node-1, process 1", "node-1, process 1 (2)", "node-1, process 2"]
    assert timeline.idle_share() == pytest.approx(4 / 16)
    assert timeline.training_share() == pytest.approx(7 / 16)


@pytest.mark.parametrize("value", ["true", "0", "2.5", "many", "-1", "4.0", "[2]"])
def test_a_size_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    path = write_curve(tmp_path / "c.yaml", fuse=value)
    with pytest.raises(
        InputError, match=r"resources\.fuse: .*must be auto, or how many trials a worker trains at once"
    ):
        read_sweep(str(path), [])


def test_what_cannot_be_fused_is_refused_or_said(tmp_path: Path) -> None:
    path = write_curve(tmp_path / "c.yaml", fuse=4)
    with pytest.raises(InputError, match=r"resources\.fuse: 4, but cnn trains one model at a time: want "):
        read_sweep("cnn", ["resources.fuse=4"])
    for override in ("task.fold=all", "then={best: 2, fold: all}"):
        with pytest.raises(
            InputError, match=r"resources\.fuse: 4, but with (task|then)\.fold: all a trial trains a model"
        ):
            read_sweep(str(path), [override])
    (remark,) = [line for line in remarks(read_sweep(str(path), ["failures.max_retries=0"])) if "fuse" in line]
    assert remark.startswith("without effect: resources.fuse: 4, as failures.max_retries is 0")
    assert read_sweep("cnn", []).resources.fuse == "auto"


@pytest.mark.usefixtures("ray_session")
def test_a_dry_run_says_how_many_train_at_once(tmp_path: Path, tiny_dataset: Path) -> None:
    path = write_curve(tmp_path / "c.yaml", fuse=4)
    facts = dry(read_sweep(str(path), []), tiny_dataset, tmp_path / "runs").facts
    assert any(fact.endswith("; 2 workers, up to 4 trials at once in each") for fact in facts), facts


@pytest.mark.usefixtures("ray_session", "nothing_is_recorded")
def test_auto_fuses_what_pays_within_a_share_of_the_search(tmp_path: Path, tiny_dataset: Path) -> None:
    asked = {"trainable": "faulty_curve", "fix": FAULTY, "range": "fault: [none]", "fuse": "auto", "epochs": 3}
    directory, record = swept(tmp_path, tiny_dataset, "a", sampler="random", trials=24, **asked)
    assert record.fused == 4, "as many as pay: this sampler never learns"
    assert record.count()["failed"] == 0
    assert len(record.trials) == 24
    assert load_sweep(directory).sweep.asked.resources.fuse == "auto"
