"""Judging a model on a split: detected faces, all faces, baselines."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console, RenderableType
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from fersweep import trainables
from fersweep.cli.main import app
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate.judgement import evaluate
from fersweep.results.evaluate.model_judgement import judge_model
from fersweep.results.evaluate.tables import render, render_judgement
from fersweep.results.evaluate.tree_baseline import tree_baseline
from fersweep.results.models.open_model import open_model
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.scores.figures import Figures
from tests.datasets import write_tiny_dataset
from tests.sweeps import NewSweep


def shown(tables: RenderableType) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(tables)
    return capture.get()


class Fixed:
    """Predicts what it is given, whatever it sees."""

    def __init__(self, predicted: np.ndarray, num_classes: int):
        self.probabilities = np.eye(num_classes, dtype=np.float32)[predicted]

    def predict(self, x: np.ndarray) -> np.ndarray:
        assert len(x) == len(self.probabilities)
        return self.probabilities


@pytest.mark.parametrize("split", ["val", "test"])
def test_scores_over_detected_and_over_all_faces(tiny_dataset: Path, split: str) -> None:
    task = Task(tiny_dataset)
    y, missed = task.load(split).y, task.undetected(split)
    assert len(missed), "the dataset has undetected faces"
    predicted = np.where(np.arange(len(y)) % 4 == 0, (y + 1) % 3, y)
    figures = evaluate(Fixed(predicted, 3), task, split)
    content = json.loads(json.dumps(figures.as_json(), allow_nan=False))
    assert Figures.from_json(content) == figures
    detected, everything = content["detected"], content["all"]
    assert detected["accuracy"]["value"] == pytest.approx(accuracy_score(y, predicted))
    assert detected["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(y, predicted))
    assert detected["macro_f1"]["value"] == pytest.approx(f1_score(y, predicted, average="macro"))
    all_y, all_predicted = np.concatenate([y, missed]), np.concatenate([predicted, np.full(len(missed), 3)])
    assert everything["num_faces"] == len(all_y)
    assert everything["accuracy"]["value"] == pytest.approx(accuracy_score(all_y, all_predicted))
    wanted = f1_score(all_y, all_predicted, average="macro", labels=[0, 1, 2])
    assert everything["macro_f1"]["value"] == pytest.approx(wanted)
    majority = np.bincount(task.load("train").y).argmax()
    assert detected["baseline"]["class"] == task.classes[majority]
    assert detected["baseline"]["accuracy"] == pytest.approx((y == majority).mean())
    assert "detected faces" in shown(render(figures, ""))


def test_figures_of_an_older_version_are_read_and_written_as_they_were(tiny_dataset: Path) -> None:
    task = Task(tiny_dataset)
    older = evaluate(Fixed(task.load("val").y, 3), task, "val").as_json()
    del older["faces"], older["detected"]["auc"], older["detected"]["calibration"]
    figures = Figures.from_json(older)
    assert figures.as_json() == older
    assert "ECE" not in shown(render(figures, ""))


def test_a_split_without_faces_is_refused(tmp_path: Path) -> None:
    dataset = write_tiny_dataset(tmp_path / "all-missed", num_faces=60)
    task = Task(dataset, TaskSpec(features="pixels"))
    assert evaluate(Fixed(task.load("val").y, 3), task, "val").all.accuracy.value == 1.0
    with pytest.raises(InputError, match="split"):
        evaluate(Fixed(np.zeros(0, int), 3), task, "nosuch")


def test_pixels_are_answered_whether_detected_or_not(
    new_sweep: NewSweep, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_dir, driver = new_sweep("cnn")
    driver.run_trial(0, {"widths": [4, 6], "image_size": 24}, 1, "finished")
    options = ["--tta", "--explain", str(tmp_path / "explain"), "--home", str(home), "--json"]
    app(["evaluate", sweep_dir.name, *options], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found["detected"] == found["all"]
    assert found["all"]["num_faces"] == found["tta"]["num_faces"] == len(driver.arrays.val.y)
    assert found["pictures"] == [str(tmp_path / "explain" / name) for name in ("feature_maps.png", "grad_cam.png")]
    model = trainables.restore(load_sweep(sweep_dir).choose_trial(None)[1])
    mirrored = (model.predict(driver.arrays.val.x) + model.predict(driver.arrays.val.x[:, :, ::-1])) / 2
    assert found["tta"]["accuracy"]["value"] == (mirrored.argmax(axis=1) == driver.arrays.val.y).mean()
    text = shown(render(Figures.from_json(found), ""))
    assert "all faces" in text
    assert "mirror image" in text
    assert "detected faces" not in text


def test_what_a_model_without_convolutions_cannot_show(new_sweep: NewSweep, tmp_path: Path) -> None:
    sweep_dir, driver = new_sweep()
    driver.run_trial(0, {}, 1, "finished")
    home = sweep_dir.parents[1]
    model = open_model(sweep_dir.name, home)
    assert "detected faces" in shown(render_judgement(judge_model(model, home)))
    with pytest.raises(InputError, match="--tta: this model has no test-time augmentation"):
        judge_model(model, home, tta=True)
    with pytest.raises(InputError, match="--explain: a curve has no feature maps"):
        judge_model(model, home, explain=tmp_path / "explain")


def test_trees_of_pixels_say_what_they_see(home: Path, pixels: TaskArrays) -> None:
    trees = tree_baseline(Task(home / "data" / "tiny", TaskSpec(features="pixels")))
    assert trees.detected.baseline is not None
    assert trees.detected.accuracy.low > trees.detected.baseline.accuracy
    assert trees.name == "trees, 12×12 px"
    assert "12×12" in trees.protocol


def test_trees_beat_guessing_and_are_kept(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, cache = Task(tiny_dataset), tmp_path / "trees.json"
    trees = tree_baseline(task, cache)
    assert trees.detected.baseline is not None
    assert trees.detected.accuracy.low > trees.detected.baseline.accuracy
    evaluate_trees = "fersweep.results.evaluate.tree_baseline.evaluate"
    monkeypatch.setattr(evaluate_trees, lambda *_: pytest.fail("not read from the cache"))
    assert tree_baseline(task, cache) == trees
    others = trees.model_copy(update={"name": "other task"})
    monkeypatch.setattr(evaluate_trees, lambda *_: others)
    other = Task(tiny_dataset, TaskSpec(classes={"happy": ["happy"], "rest": ["sad", "neutral"]}))
    assert tree_baseline(other, cache) == others
