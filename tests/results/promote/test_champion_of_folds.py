"""A sweep over folds from its journal to the champion: compared by answers out of fold, promoted as the mean of its models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.compare.sweeps import compare_sweeps
from fersweep.results.evaluate.judgement import evaluate
from fersweep.results.evaluate.model_judgement import judge_model
from fersweep.results.evaluate.tree_baseline import tree_baseline
from fersweep.results.mlflow_store.run_fields import epoch_metrics
from fersweep.results.models.open_model import open_model
from fersweep.results.promote import refit
from fersweep.results.promote.promotion import promote
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.scores.paired import Difference
from fersweep.trainables.metrics import SCORES
from fersweep.trainables.saved_model import read_model
from tests.datasets import write_tiny_dataset
from tests.sweeps import METRIC, FakeDriver, write_sweep_json

pytestmark = pytest.mark.slow
NUM_FOLDS = 3


@pytest.fixture(scope="module")
def sweep_dir(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_store, home)
    data = write_tiny_dataset(home / "data" / "tiny", 240, folds=NUM_FOLDS, origins=["a"])
    arrays = Task(data, TaskSpec(features="pixels", fold="all")).arrays()
    for name, rate in (("folds", 0.01), ("others", 0.001)):
        driver = FakeDriver(write_sweep_json(home, data, arrays, name, "pixel_mlp"), arrays)
        driver.journal.session("started")
        hparams = {"units": [8], "image_size": 24, "learning_rate": rate, "batch_size": 32}
        driver.run_trial(0, hparams, 1, "finished")
        driver.journal.session("finished")
        driver.journal.close()
    return home / "sweeps" / "folds"


def test_its_interval_is_of_the_mean_over_folds(sweep_dir: Path) -> None:
    compared = compare_sweeps(sweep_dir.parents[1], ["folds", "others"])
    best = compared.sweeps[0].best
    assert best is not None
    assert best.low is not None
    assert best.high is not None
    assert best.low < best.value < best.high
    assert compared.sweeps[0].faces == "all faces of 3 folds"
    difference = compared.pairs[0].difference
    assert isinstance(difference, Difference)
    assert difference.faces == f"{compared.sweeps[0].num_faces} faces of val, of all folds as one"


def test_trees_to_beat_do_not_know_the_faces_that_they_are_judged_by(sweep_dir: Path) -> None:
    data = load_sweep(sweep_dir).sweep.dataset.path
    figures = tree_baseline(Task(data, TaskSpec(fold="all")))
    alone = [tree_baseline(Task(data, TaskSpec(fold=number))).detected for number in range(NUM_FOLDS)]
    for name in SCORES:
        assert figures.detected.score(name).value == pytest.approx(np.mean([each.score(name).value for each in alone]))
    assert figures.detected.num_faces == sum(each.num_faces for each in alone)


def test_promoted_it_is_the_mean_of_its_models(sweep_dir: Path) -> None:
    home = sweep_dir.parents[1]
    promoted = promote(sweep_dir, gates={})
    sweep = load_sweep(sweep_dir).sweep
    checkpoint, task = Path(promoted.checkpoint), sweep.task()
    model, x = trainables.restore(checkpoint), task.load("test").x
    members = [trainables.restore(checkpoint / f"member-{number}").predict(x) for number in range(NUM_FOLDS)]
    np.testing.assert_allclose(model.predict(x), np.mean(members, axis=0), rtol=1e-5)
    assert promoted.figures.detected == evaluate(model, task, "test").detected
    champion = open_model("champion", home)
    with pytest.raises(InputError, match=r"champion learned val of .*: figures on it say nothing about new faces"):
        judge_model(champion, home, split="val")
    ((_, _, logged), *_) = epoch_metrics(load_sweep(sweep_dir).record.trials[0], 0, METRIC)
    assert f"{METRIC}_fold2" in logged
    assert "val_loss_fold2" not in logged, "of single folds, MLflow has what the sweep ranks by"


def test_a_refit_is_one_model_of_all_faces(sweep_dir: Path, tmp_path: Path) -> None:
    refit._main([str(sweep_dir), "0", "0", str(tmp_path / "refit")])
    model = read_model(tmp_path / "refit")
    assert "ensemble" not in model
    assert model["learned"][0]["splits"] == ["train", "val"]
    task = load_sweep(sweep_dir).sweep.task()
    assert set(task.arrays(with_val=True).train.face_ids) >= set(task.load("train").face_ids)
