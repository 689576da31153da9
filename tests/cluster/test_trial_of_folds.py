"""Trials of `task.fold: all`: a model a fold, one trial for everybody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fersweep.cluster.launch import describe
from fersweep.cluster.planning.measure import part_of
from fersweep.cluster.worker.trial_settings import TrialSettings
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record import checkpoints
from fersweep.results.record.journal import Journal
from fersweep.results.record.storage import Storage
from fersweep.results.record.sweep_json import parse_sweep_json
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.trainables.metrics import SCORES, fold_values, majority_baseline
from tests.datasets import write_tiny_dataset
from tests.one_trial import OneTrial

NOISY = {"top": 0.9, "rate": 0.3, "noise": 0.1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny", 120, folds=3, augmented=True)


@pytest.fixture(scope="module")
def arrays(data: Path) -> TaskArrays:
    return Task(data, TaskSpec(fold="all")).arrays()


def begin(directory: Path, arrays: TaskArrays, storage: Storage | None = None, known: int = 0) -> OneTrial:
    """An attempt at trial 0 of a sweep that reports after every epoch."""
    stop = {"metric": "val_macro_f1", "mode": "max", "rungs": (), "report_s": 0.0, "timeout_s": None, "max_epochs": 6}
    where = {"directory": directory, "storage": storage or Storage(directory)}
    settings = TrialSettings(trainable="curve", seed=1, gpus=0, **stop, **where)  # pyright: ignore[reportArgumentType]
    return OneTrial(settings, arrays, 0, NOISY, known)


def rows_of(session: OneTrial, num: int) -> list[dict[str, float]]:
    return [row for _ in range(num) for row in session.run().epochs]


def test_a_trial_goes_on_as_one_without_a_break_and_names_a_damaged_member(tmp_path: Path, arrays: TaskArrays) -> None:
    whole = rows_of(begin(tmp_path / "whole", arrays), 6)
    rows = rows_of(begin(tmp_path / "broken", arrays), 3)
    rows += rows_of(begin(tmp_path / "broken", arrays, known=3), 1)
    member = tmp_path / "broken" / checkpoints.place(0, 4) / "member-1" / "state.npz"
    member.write_bytes(member.read_bytes()[:-1])
    again = begin(tmp_path / "broken", arrays, known=4)
    report = again.run()
    assert "epoch-0004 is damaged: member-1/state.npz: not what was written" in report.notes[0]
    assert report.notes[0].endswith("goes on from epoch 3")
    rows += [*report.epochs, *rows_of(again, 2)]
    assert rows == whole
    found = checkpoints.read_predictions(Storage(tmp_path / "broken"), 0)
    assert found is not None
    np.testing.assert_array_equal(found[0], arrays.val.y)


def test_a_trial_in_a_bucket(tmp_path: Path, arrays: TaskArrays, bucket: str) -> None:
    storage = Storage(bucket)
    rows = rows_of(begin(tmp_path / "here", arrays, storage), 2)
    rows += rows_of(begin(tmp_path / "elsewhere", arrays, storage, known=2), 4)
    assert rows == rows_of(begin(tmp_path / "whole", arrays), 6)
    storage.move(checkpoints.place(0, 6), "trials/aside")
    assert 6 not in checkpoints.saved(storage, 0)
    moved = storage.fetch("trials/aside", tmp_path / "moved")
    assert sorted(path.name for path in moved.glob("member-*/*")) == 3 * ["model.json"] + 3 * ["state.npz"]


def test_the_journal_has_each_folds_scores(tmp_path: Path, arrays: TaskArrays) -> None:
    (row,) = rows_of(begin(tmp_path, arrays), 1)
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("sampled", trial=0, hparams={}, params={}, distributions={}, point=None)
    journal.append("report", trial=0, epochs=[row])
    journal.close()
    again = Journal(tmp_path / "journal.jsonl")
    recorded = again.record.trials[0].epochs[0]
    again.close()
    values = fold_values(recorded, "val_macro_f1")
    assert len(values) == 3
    assert np.mean(values) == pytest.approx(recorded["val_macro_f1"])
    assert fold_values(recorded, "val_tta_accuracy") == []


def test_what_a_sweep_over_folds_says_of_itself(tmp_path: Path, data: Path) -> None:
    asked = parse_sweep({"name": "s", "trainable": "curve", "task": {"fold": "all"}}, "test")
    sweep, arrays = describe(asked, data, tmp_path)
    alone = [Task(data, TaskSpec(fold=k)).arrays() for k in range(3)]
    baselines = [majority_baseline(one.train.y, one.val.y, 3) for one in alone]
    for name in SCORES:
        assert getattr(sweep.baseline, name) == pytest.approx(np.mean([each[name] for each in baselines]))
    assert sweep.faces == "detected faces of 3 folds"
    num_train = len(set().union(*(zip(one.train.face_ids, one.train.y, strict=True) for one in alone)))
    assert (
        sweep.num_faces
        == f"{num_train} train, {sum(len(one.val.y) for one in alone)} val faces in 3 folds, a model each"
    )
    assert parse_sweep_json(sweep.as_bytes(), tmp_path, tmp_path) == sweep
    part = part_of(arrays, 40)
    assert [len(fold.val) >= 2 for fold in part.folds] == 3 * [True]
    assert 30 < len(part.train.y) < 50
