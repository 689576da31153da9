"""Two sweeps in turn (`then:`), by the verbs of the command line: a search on a fraction, then the best on everything."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from fersweep import trainables
from fersweep.cli import sweeps as verbs
from fersweep.cluster.search.decisions import Search
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.trainables.curve import Curve, Hparams
from fersweep.trainables.metrics import fold_values
from tests.datasets import write_tiny_dataset
from tests.processes import write_curve

pytestmark = pytest.mark.usefixtures("ray_session", "nothing_is_recorded")


def write_both(tmp_path: Path) -> str:
    path = write_curve(tmp_path / "c.yaml", trials=4, epochs=3, cpus=2)
    path.write_text(path.read_text() + "task: {fraction: 0.25}\nthen: {best: 2, max_epochs: 4}\n")
    return str(path)


def test_the_best_of_a_search_on_a_fraction_are_trained_on_everything(
    tmp_path: Path, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "runs"
    verbs.launch(write_both(tmp_path), tiny_dataset, home=home)
    told = capsys.readouterr()
    first = load_sweep(home / "sweeps" / "c")
    full = load_sweep(home / "sweeps" / "c-full")
    record, after = first.record, full.record
    assert full.sweep.num_train > 3 * first.sweep.num_train  # type: ignore[operator]
    assert full.sweep.num_val == first.sweep.num_val
    best = record.ranked("val_macro_f1", "max")[:2]
    assert [trial.point for trial in after.trials.values()] == [f"c/{trial.name}" for trial in best]
    assert [trial.params for trial in after.trials.values()] == [trial.params for trial in best]
    assert max(trial.num_epochs for trial in after.trials.values()) == 4
    assert "then: c-full, the best 2 on all of train, 4 epochs at most\n" in told.err
    assert f"promote c-full --home {home}" in told.err
    assert "promote c " not in told.err
    assert 0 <= told.out.find("c: curve on tiny.") < told.out.find("c-full: curve on tiny.")

    verbs.resume("c", home=home, as_json=True)  # the second one is the result, and stays as it is
    assert json.loads(capsys.readouterr().out)["sweep"] == "c-full"
    assert load_sweep(home / "sweeps" / "c-full").record.trials == after.trials
    (home / "sweeps" / "d-full").mkdir()
    with pytest.raises(InputError, match="d-full: a sweep of this name exists"):
        verbs.launch(write_both(tmp_path), tiny_dataset, name="d", home=home)
    assert not (home / "sweeps" / "d").exists()


def test_resume_goes_on_with_the_one_that_was_interrupted(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, sweeps, interrupted = tmp_path / "runs", tmp_path / "runs" / "sweeps", ["c", "c-full"]

    def train_here(search: Search, *_: Any) -> None:
        while (assignment := search.next()) is not None:
            curve = Curve(Hparams(**assignment.hparams), np.zeros((3, 1)), {"seed": assignment.trial})
            search.report(assignment.trial, curve.fit(search.sweep.stop.max_epochs), "finished")
            if interrupted and search.sweep.name == interrupted[0]:
                interrupted.pop(0)
                signal.raise_signal(signal.SIGINT)
                return

    monkeypatch.setattr("fersweep.cluster.driver.run_sweep._tune", train_here)
    with pytest.raises(typer.Exit) as ended:
        verbs.launch(write_both(tmp_path), tiny_dataset, home=home)
    assert ended.value.exit_code == 130
    assert not (sweeps / "c-full").exists()
    with pytest.raises(typer.Exit):
        verbs.resume("c", home=home)
    assert load_sweep(sweeps / "c").record.action == "finished"
    assert load_sweep(sweeps / "c-full").record.action == "interrupted"
    assert "go on with: fersweep resume c-full" in capsys.readouterr().err
    verbs.resume("c", home=home)
    assert load_sweep(sweeps / "c-full").record.action == "finished"


def test_the_best_of_one_fold_are_trained_on_every_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_tiny_dataset(tmp_path / "tiny", 60, folds=3)
    path = write_curve(tmp_path / "c.yaml", trials=4, epochs=3, cpus=2)
    path.write_text(path.read_text() + "task: {fold: 1}\nthen: {best: 2, fold: all}\n")

    def train_here(search: Search, arrays: TaskArrays, *_: Any) -> None:
        while (assignment := search.next()) is not None:
            rows = trainables.build("curve", assignment.hparams, arrays, assignment.trial).fit(3)
            search.report(assignment.trial, [{**row} for row in rows], "finished")

    monkeypatch.setattr("fersweep.cluster.driver.run_sweep._tune", train_here)
    verbs.launch(str(path), data, home=tmp_path / "runs")
    first, full = (load_sweep(tmp_path / "runs" / "sweeps" / name) for name in ("c", "c-full"))
    assert (first.sweep.num_folds, full.sweep.num_folds) == (None, 3)
    assert "then: c-full, the best 2 on all of train of every fold, 3 epochs at most" in capsys.readouterr().err
    best = first.record.ranked("val_macro_f1", "max")[:2]
    assert [trial.params for trial in full.record.trials.values()] == [trial.params for trial in best]
    for trial in full.record.trials.values():
        assert fold_values(trial.epochs[0], "val_macro_f1")
    one_fold = write_tiny_dataset(tmp_path / "whole", 60)
    path.write_text(path.read_text().replace("task: {fold: 1}", "task: {}"))
    with pytest.raises(
        InputError, match=r"then: task\.fold: .* has no folds"
    ):  # which the first sweep would not have needed
        verbs.launch(str(path), one_fold, name="d", home=tmp_path / "runs")
    assert not (tmp_path / "runs" / "sweeps" / "d").exists()
