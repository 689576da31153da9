"""Whole sweeps on real Ray: launched, killed, interrupted, resumed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.launch import dry, launch
from cluster.resume import resume
from cluster.sweep import Sweep, read_sweep
from data_pipeline.errors import InputError
from results import journal
from results.sweeps import load_sweep

ROOT = Path(__file__).resolve().parents[2]
CURVE = """
trainable: curve
space: {{fix: {{noise: 0.02}}}}
search: {{num_trials: {trials}, seed: 3}}
stop: {{grace_epochs: 2, max_epochs: {epochs}, report_s: 0, reduction: 2}}
resources: {{cpus: {cpus}}}
"""


def curve_sweep(tmp_path: Path, name: str, trials: int = 8, epochs: int = 10, cpus: float = 1) -> Sweep:
    path = tmp_path / f"{name}.yaml"
    path.write_text(CURVE.format(trials=trials, epochs=epochs, cpus=cpus))
    return read_sweep(str(path), [], name=name)


@pytest.mark.usefixtures("ray_session")
def test_a_sweep_runs_to_its_end_and_records_everything(tmp_path: Path, tiny_dataset: Path) -> None:
    outcome = launch(curve_sweep(tmp_path, "curve"), tiny_dataset, tmp_path / "runs")
    assert outcome.state == "finished"
    described, record = load_sweep(outcome.directory)
    assert described["dataset"]["fingerprint"]
    assert described["baseline"]["majority_class"] in described["classes"]
    assert record.action == "finished"
    assert len(record.trials) == 8
    assert {t.state for t in record.trials.values()} == {"finished", "stopped"}
    for trial in record.trials.values():
        assert [row["epoch"] for row in trial.epochs] == list(range(1, trial.num_epochs + 1))
        model = json.loads((outcome.directory / "trials" / trial.name / "best" / "model.json").read_text())
        assert model["epoch"] == trial.best("val_macro_f1", "max")["epoch"]  # type: ignore[index]
    with (outcome.directory / "driver.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is running this sweep"):
            resume(outcome.directory)
    with pytest.raises(InputError, match="a sweep of this name exists"):
        launch(curve_sweep(tmp_path, "curve"), tiny_dataset, tmp_path / "runs")


@pytest.mark.usefixtures("ray_session")
def test_a_real_model_is_searched(tmp_path: Path, tiny_dataset: Path) -> None:
    sweep = read_sweep("quick", ["stop.report_s=0"], search__num_trials=2, stop__max_epochs=6)
    _, record = load_sweep(launch(sweep, tiny_dataset, tmp_path).directory)
    assert record.ranked("val_macro_f1", "max")[0].value("val_macro_f1", "max") > 0.3  # type: ignore[operator]


@pytest.mark.usefixtures("ray_session")
def test_a_trial_that_fails_does_not_fail_the_sweep(tmp_path: Path, tiny_dataset: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "trainable: blendshape_dense\nsearch: {num_trials: 2, start_from: [seed_dense]}\n"
        "space: {fix: {optimizer: sgd, standardise: true}}\nstop: {max_epochs: 2}\n"
    )
    with pytest.raises(InputError, match=r"space\.fix says 'sgd'"):
        read_sweep(str(tmp_path / "s.yaml"), [])
    sweep = read_sweep(str(tmp_path / "s.yaml"), ["search.start_from=[]", "task.features=pixels"], name="pixels")
    _, record = load_sweep(launch(sweep, tiny_dataset, tmp_path / "runs").directory)
    assert [t.state for t in record.trials.values()] == ["failed", "failed"]
    assert "blendshape_dense learns from features: blendshapes" in str(record.trials[0].reason)


@pytest.mark.usefixtures("ray_session")
def test_what_the_cluster_or_the_data_lacks_is_refused_before_anything_is_written(
    tmp_path: Path, tiny_dataset: Path
) -> None:
    home = tmp_path / "runs"
    with pytest.raises(InputError, match=r"resources\.cpus: a trial wants 64 CPUs, but the largest node has 2"):
        launch(curve_sweep(tmp_path, "big", cpus=64), tiny_dataset, home)
    with pytest.raises(InputError, match=r"resources\.gpus: a trial wants 8 GPUs"):
        launch(read_sweep("quick", ["resources.gpus=8"]), tiny_dataset, home)
    with pytest.raises(InputError, match=r"'angry'.*happy, sad, neutral"):
        launch(read_sweep("quick", ["task.classes={a: [angry], b: [sad]}"]), tiny_dataset, home)
    with pytest.raises(InputError, match=r"manifest\.json"):
        launch(read_sweep("quick", []), tmp_path / "nothing", home)
    assert not home.exists()
    assert "learning_rate" in dry(read_sweep("quick", []), tiny_dataset, home)
    assert not home.exists()


def start(tmp_path: Path, tiny_dataset: Path, verb: str, trials: int) -> subprocess.Popen:
    curve_sweep(tmp_path, "c", trials=trials, epochs=30)
    arguments = [str(tmp_path / "c.yaml"), "--data", str(tiny_dataset)] if verb == "launch" else ["c"]
    command = [sys.executable, str(ROOT / "fersweep.py"), verb, *arguments, "--home", str(tmp_path / "runs"), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_trials(process: subprocess.Popen, path: Path, number: int) -> None:
    deadline = time.time() + 120
    while len(journal.read(path).trials) < number:
        assert time.time() < deadline, "the sweep does not get going"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_sweep_is_resumed(tmp_path: Path, tiny_dataset: Path, how: signal.Signals) -> None:
    path = tmp_path / "runs" / "sweeps" / "c" / "journal.jsonl"
    first = start(tmp_path, tiny_dataset, "launch", trials=60)
    wait_for_trials(first, path, 10)
    first.send_signal(how)
    out, err = first.communicate(timeout=60)
    if how is signal.SIGINT:
        assert first.returncode == 130, err
        assert "fersweep resume c --home" in err
        assert out == ""
        assert journal.read(path).action == "interrupted"
    ended_before = {n: (t.state, t.epochs) for n, t in journal.read(path).trials.items() if t.state != "running"}
    assert len(ended_before) < 60

    second = start(tmp_path, tiny_dataset, "resume", trials=60)
    out, err = second.communicate(timeout=200)
    assert second.returncode == 0, err
    assert json.loads(out)
    record = journal.read(path)
    assert record.action == "finished"
    assert len(record.trials) == 60
    assert record.count()["running"] == 0
    assert {n: (t.state, t.epochs) for n, t in record.trials.items() if n in ended_before} == ended_before
    for trial in record.trials.values():
        assert [row["epoch"] for row in trial.epochs] == list(range(1, trial.num_epochs + 1))
