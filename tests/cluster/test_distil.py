"""A sweep that learns a model's answers: from the sweep file to what its trials are given. Without Ray."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep import trainables
from fersweep.cluster import follow_up
from fersweep.cluster import launch as launching
from fersweep.cluster import resume as resuming
from fersweep.cluster.driver.run_sweep import Outcome
from fersweep.cluster.launch import launch
from fersweep.cluster.resume import resume
from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.pixels import pixels
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import Arrays, TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.compare.trials import compare
from fersweep.results.distil.answers import FILE, Answers, targets, taught
from fersweep.results.distil.teacher import ask, open_teacher
from fersweep.results.mlflow_store import run_fields
from fersweep.results.models.open_model import open_model
from fersweep.results.promote import refit
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.sweep_json import SweepJson, read_sweep_json
from fersweep.search_spaces.sweep_file.consistency import refuse_contradictions, remarks
from fersweep.search_spaces.sweep_file.read_sweep import parse_sweep
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.trainables import ensemble
from fersweep.trainables.batches import face_targets
from fersweep.trainables.metrics import confusion, scores
from fersweep.trainables.saved_model import read_model
from tests.datasets import write_tiny_dataset, write_with_faces_of
from tests.sweeps import FakeDriver, write_sweep_json

Given = list[tuple[SweepJson, TaskArrays]]


def student(name: str = "student", distil: Any = None, trainable: str = "pixel_mlp", **more: Any) -> Sweep:
    content: dict[str, Any] = {
        "name": name,
        "trainable": trainable,
        "task": {"features": "pixels"},
        "search": {"num_trials": 2, "sampler": "random"},
        "distil": {"from": "teacher"} if distil is None else distil,
        **more,
    }
    return parse_sweep(content, "test")


def write_teacher(home: Path, data: Path, name: str = "teacher", arrays: TaskArrays | None = None) -> Path:
    """A sweep of one trial, which sees blendshapes."""
    arrays = arrays or Task(data).arrays()
    directory = write_sweep_json(home, data, arrays, name)
    driver = FakeDriver(directory, arrays)
    driver.run_trial(0, {"rate": 0.3}, 1, "finished")
    driver.journal.close()
    return directory


@pytest.fixture
def data(home: Path) -> Path:
    data = write_tiny_dataset(home / "data" / "tiny")
    write_teacher(home, data)
    return data


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """What sweeps are run with, which here are not run."""
    runs: Given = []

    def run(sweep: SweepJson, arrays: TaskArrays, directory: Path, **_: Any) -> Outcome:
        runs.append((sweep, arrays))
        return Outcome("finished", directory)

    for module in (launching, resuming):
        monkeypatch.setattr(module, "run_sweep", run)
        monkeypatch.setattr(module.ray_connection, "connect", lambda *_, **__: None)
        monkeypatch.setattr(module.capacity, "check", lambda *_: None)
        monkeypatch.setattr(module, "check_nodes", lambda *_: None)
    return runs


def teachers_answers(home: Path, data: Path, face_ids: np.ndarray) -> np.ndarray:
    """(N, C) by asking it; NaN for faces that it does not see."""
    model, task = open_model("teacher", home), Task(data)
    answers = np.full((len(face_ids), 3), np.nan, np.float32)
    for split in ("train", "val"):
        faces = task.load(split)
        known = dict(zip(faces.face_ids.tolist(), model.predict(faces.x), strict=True))
        for row, name in enumerate(face_ids.tolist()):
            answers[row] = known.get(name, answers[row])
    return answers


def test_trials_learn_the_teachers_mixed_probabilities(home: Path, data: Path, given: Given) -> None:
    launch(student(distil={"from": "teacher", "weight": 0.75, "temperature": 2.0}), data, home)
    ((sweep, arrays),) = given
    answers = teachers_answers(home, data, arrays.train.face_ids)
    seen = ~np.isnan(answers[:, 0])
    assert 0 < (~seen).sum() < 30, "the teacher sees no faces in which MediaPipe found none"
    softened = np.sqrt(answers[seen].astype(np.float64))
    labels = np.eye(3)[arrays.train.y]
    wanted = labels.copy()
    wanted[seen] = 0.75 * softened / softened.sum(axis=1, keepdims=True) + 0.25 * labels[seen]
    np.testing.assert_allclose(arrays.train.votes, wanted, atol=1e-7)
    np.testing.assert_allclose(arrays.train.votes.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(face_targets(arrays), arrays.train.votes)
    teacher = sweep.teacher
    assert teacher is not None
    assert (teacher.name, teacher.sweep, teacher.trial, teacher.num_taught) == ("teacher:0", "teacher", 0, seen.sum())
    assert teacher.sweep_id == read_sweep_json(home / "sweeps" / "teacher").sweep_id
    assert [record["task"]["features"] for record in arrays.learned] == ["pixels", "blendshapes"], (
        "its pupil may know them"
    )

    # A torch model's loss is that of these targets: those of the labels give another one.
    model = trainables.build("pixel_mlp", {"units": [8], "batch_size": 64}, arrays, 0)
    plain = trainables.build("pixel_mlp", {"units": [8], "batch_size": 64}, Task(data, sweep.asked.task).arrays(), 0)
    np.testing.assert_allclose(model._targets.numpy(), wanted, atol=1e-6)
    assert not np.allclose(model._targets.numpy(), plain._targets.numpy())
    model.save(home / "checkpoint")
    assert len(read_model(home / "checkpoint")["learned"]) == 2


def test_an_ensemble_that_sees_pixels_and_numbers_teaches_all_faces(home: Path, data: Path) -> None:
    seen_as: dict[str, TaskArrays] = {
        kind: Task(data, TaskSpec(features=kind)).arrays() for kind in ("pixels", "blendshapes")
    }  # type: ignore[arg-type]
    for kind, arrays in seen_as.items():
        trainables.build("curve", {"rate": 0.3}, arrays, 0).save(home / kind)
    ensemble.write(home / "both", [home / kind for kind in seen_as])
    task = Task(data, TaskSpec(features="blendshapes"))
    opened = open_teacher(str(home / "both"), task, home)
    teacher, content = ask(opened, task, seen_as["blendshapes"], home)
    faces = seen_as["blendshapes"].train
    assert teacher.num_taught == len(faces.y)
    parts = [open_model(str(home / "pixels"), home).predict(as_pixels(seen_as["pixels"].train, faces.face_ids))]
    parts.append(open_model(str(home / "blendshapes"), home).predict(faces.x))
    np.testing.assert_allclose(Answers.parsed(content, 3).of(faces.face_ids), np.mean(parts, axis=0), atol=1e-6)


def as_pixels(given: Arrays, face_ids: np.ndarray) -> np.ndarray:
    rows = {name: row for row, name in enumerate(given.face_ids.tolist())}
    return given.x[[rows[name] for name in face_ids.tolist()]]


def test_altered_copies_are_taught_as_other_faces(home: Path) -> None:
    data = write_tiny_dataset(home / "data" / "copies", augmented=True)
    task = Task(data, TaskSpec(fraction=0.5))
    trainables.build("curve", {"rate": 0.3}, Task(data, TaskSpec(features="pixels")).arrays(), 0).save(home / "pixels")
    arrays = task.arrays()
    teacher, content = ask(open_teacher(str(home / "pixels"), task, home), task, arrays, home)
    assert teacher.num_taught == len(arrays.train.y)
    num_kept = len(Answers.parsed(content, 3).face_ids)
    assert num_kept == len({*arrays.train.face_ids.tolist(), *arrays.val.face_ids.tolist()}), "and no others are asked"


def test_a_keras_model_learns_them(data: Path) -> None:
    arrays = Task(data).arrays()
    votes = np.full((len(arrays.train.y), 3), 1 / 3, np.float32)
    model = trainables.build("blendshape_dense", {}, arrays.taught_by(votes, []), 0)
    np.testing.assert_array_equal(np.asarray(model._y), votes)
    (row,) = model.fit(1)
    assert row["train_loss"] > 0.9 * np.log(3), "no model does better on targets that say nothing"


def test_each_fold_learns_its_own_faces_targets(tmp_path: Path) -> None:
    arrays = Task(write_tiny_dataset(tmp_path / "folds", folds=3), TaskSpec(fold="all")).arrays()
    votes = np.random.default_rng(0).dirichlet(np.ones(3), len(arrays.train.y)).astype(np.float32)
    other = [{"fingerprint": "f", "splits": ["train"], "task": None}]
    of_fold = arrays.taught_by(votes, other).of_fold(1)
    assert of_fold.taught
    np.testing.assert_array_equal(face_targets(of_fold), votes[arrays.folds[1].train])
    assert [record["task"] and record["task"]["fold"] for record in of_fold.learned] == [1, None]


def test_large_arrays_arrive_with_their_targets(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_arrays, "SENT_BYTES", 0)
    arrays = node_arrays.load(Task(data, TaskSpec(features="pixels")))
    votes = np.random.default_rng(0).dirichlet(np.ones(3), len(arrays.train.y)).astype(np.float32)
    told = node_arrays.told(arrays.taught_by(votes, [{"fingerprint": "f"}]))
    assert isinstance(told, node_arrays.NodeArrays)
    assert told.name == node_arrays.told(arrays).name, "what a machine makes of the dataset is the same"  # type: ignore[union-attr]
    opened = node_arrays.opened(told)
    assert opened.taught
    np.testing.assert_array_equal(opened.train.votes, votes)
    assert opened.learned[-1] == {"fingerprint": "f"}
    again = node_arrays.opened(node_arrays.told(arrays))
    assert not again.taught


def test_what_is_kept_is_learned_when_the_teacher_has_changed_or_is_gone(
    home: Path, data: Path, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = launch(student(), data, home).directory
    shutil.rmtree(home / "sweeps" / "teacher")
    wrong = Task(data).arrays()
    wrong = replace(wrong, train=replace(wrong.train, y=(wrong.train.y + 1) % 3))
    write_teacher(home, data, arrays=wrong)
    resume(directory, trials="+1")
    shutil.rmtree(home / "sweeps" / "teacher")
    resume(directory, trials="+1")
    assert len(given) == 3
    for _, arrays in given:
        np.testing.assert_array_equal(arrays.train.votes, given[0][1].train.votes)
    assert given[2][0].teacher == given[0][0].teacher
    with pytest.raises(
        InputError, match=r"^distil.weight is 1.0 in sweep 'student', not 0.5: its trials so far rest on"
    ):
        resume(directory, overrides=["distil.weight=0.5"])

    # A refit learns train and val, and the teacher's answers to both.
    built: list[TaskArrays] = []
    monkeypatch.setattr(refit, "load_sweep", lambda _: stop_at_arrays(directory))
    monkeypatch.setattr(refit.trainables, "expect", lambda *_: None)
    monkeypatch.setattr(refit, "best_schedule", lambda *_: [])

    def taught_there(*known: Any) -> TaskArrays:
        built.append(taught(*known))
        raise InterruptedError

    monkeypatch.setattr(refit, "taught", taught_there)
    with pytest.raises(InterruptedError):
        refit._main([str(directory), "0", "0", str(home / "refit")])
    (arrays,) = built
    assert len(arrays.train.y) > len(given[0][1].train.y)
    assert ((arrays.train.votes < 1).all(axis=1)).mean() > 0.9, "most have the teacher's answers, val's too"


def stop_at_arrays(directory: Path) -> Any:
    recorded = load_sweep(directory)
    recorded.record.trials[0] = object()  # type: ignore[assignment]
    return recorded


def cut(content: bytes) -> bytes:
    return content[:-40]


def of_others(_: bytes) -> bytes:
    names = np.array([b"0" * 64])
    return Answers(names, np.full((1, 3), 1 / 3, np.float32)).as_bytes()


@pytest.mark.parametrize("damage", [cut, of_others, None], ids=["cut", "another's", "gone"])
def test_answers_that_are_damaged_or_gone_are_refused(
    home: Path, data: Path, given: Given, damage: Callable[[bytes], bytes] | None
) -> None:
    directory = launch(student(), data, home).directory
    path, before = directory / FILE, (directory / "sweep.json").read_bytes()
    content = path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage(content))
    with pytest.raises(
        InputError, match=r"student/teacher.npz: is not what the teacher of sweep 'student' answered \(it"
    ) as refused:
        resume(directory, trials="+1")
    assert str(refused.value).endswith(": put a copy of it back")
    assert (directory / "sweep.json").read_bytes() == before
    path.write_bytes(content)
    resume(directory, trials="+1")
    assert len(given) == 2


@pytest.mark.parametrize("wrong", ["nan", "dtype", "more", "order"])
def test_a_forged_file_with_the_right_sum_is_no_answers(wrong: str) -> None:
    names, probabilities = np.array([b"0" * 64, b"1" * 64]), np.full((2, 3), 1 / 3, np.float32)
    assert Answers.parsed(Answers(names, probabilities).as_bytes(), 3).of(np.array(["1" * 64, "2" * 64]))[0, 0] > 0
    if wrong == "nan":
        probabilities[0] = np.nan
    if wrong == "dtype":
        probabilities = probabilities.astype(np.float64)
    if wrong == "more":
        probabilities = np.full((2, 4), 0.25, np.float32)
    if wrong == "order":
        names = names[::-1]
    with pytest.raises(ValueError, match=r"^(its|probabilities)"):
        Answers.parsed(Answers(names, probabilities).as_bytes(), 3)


def test_a_bucket_holds_them_too(home: Path, data: Path, given: Given, bucket: str) -> None:
    directory = launch(student(storage=bucket), data, home).directory
    (directory / FILE).write_bytes(b"")
    resume(directory, trials="+1")
    np.testing.assert_array_equal(given[1][1].train.votes, given[0][1].train.votes)
    assert (directory / FILE).stat().st_size > 0


def test_a_teacher_that_learned_val_or_test_is_refused(home: Path, data: Path, given: Given) -> None:
    learned = Task(data).arrays(with_val=True)
    trainables.load("curve").build({"rate": 0.3}, learned, 0).save(home / "refitted")
    num = len(Task(data).everyone("val")[2])
    with pytest.raises(
        InputError, match=rf"^distil.from: .*/refitted learned \d+ of the {num} faces of val of .*/tiny, or near"
    ):
        launch(student(distil={"from": str(home / "refitted")}), data, home)
    task = Task(data)
    faces = pixels(task.dataset, task.all_rows("test")[:5], task.manifest)
    other = Task(write_with_faces_of(home / "data" / "other", {"train": faces}), learned=False)
    elsewhere = replace(task.arrays(), learned=[other.learned(["train"])], fingerprint=other.manifest["fingerprint"])
    trainables.load("curve").build({"rate": 0.3}, elsewhere, 0).save(home / "elsewhere")
    with pytest.raises(InputError, match=r"elsewhere learned [5-9] of the \d+ faces of test of"):
        launch(student(distil={"from": str(home / "elsewhere")}), data, home)
    assert given == []
    assert not (home / "sweeps" / "student").exists()


@pytest.mark.parametrize(
    ("distil", "message"),
    [
        ({"from": "nobody"}, r"^distil.from: no model 'nobody' in .*; sweeps: other, teacher"),
        (
            {"from": "other"},
            r"^distil.from: other:0 answers happy, sad, and the task's classes are happy, sad, neutral: want ",
        ),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(
    home: Path, data: Path, given: Given, distil: dict[str, Any], message: str
) -> None:
    two = Task(data, TaskSpec(classes={"happy": ["happy"], "sad": ["sad"]})).arrays()
    write_teacher(home, data, "other", two)
    with pytest.raises(InputError, match=message):
        launching.describe(student(distil=distil), data, home)  # as `plan` and `launch --dry-run` do
    with pytest.raises(InputError, match=message):
        launch(student(distil=distil), data, home)
    assert not (home / "sweeps" / "student").exists()
    assert given == []


def test_the_teacher_is_judged_beside_its_pupils(home: Path, data: Path, given: Given) -> None:
    directory = launch(student(), data, home).directory
    (sweep, arrays), answers = given[0], teachers_answers(home, data, given[0][1].val.face_ids)
    row, _ = compare(directory).baselines
    assert row.name == "teacher: teacher:0"
    seen = ~np.isnan(answers[:, 0])
    right = (answers[seen].argmax(axis=1) == arrays.val.y[seen]).sum()
    assert row.scores["val_accuracy"] == pytest.approx(right / len(seen)), "a face that it does not see is wrong"
    figures = scores(confusion(arrays.val.y[seen], answers[seen].argmax(axis=1), 3))
    assert row.scores["val_accuracy"] < figures["accuracy"]
    assert run_fields.parent_tags(sweep)["fersweep.teacher"] == "teacher:0"
    assert json.loads((directory / "sweep.json").read_bytes())["sweep"]["distil"] == {
        "from": "teacher",
        "weight": 1.0,
        "temperature": 1.0,
    }


def test_the_sweep_that_follows_has_the_same_teacher(
    home: Path, data: Path, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = student(then={"best": 1})
    outcome, launched = launch(asked, data, home), list[Sweep]()
    monkeypatch.setattr(follow_up, "launch", lambda following, *_: launched.append(following))
    assert asked.following is not None
    follow_up.go_on(outcome, asked.following)
    assert asked.following.distil is not None
    assert asked.following.distil.teacher == "teacher"
    (following,) = launched
    assert following.distil is not None
    assert following.distil.teacher == "teacher:0", "whatever is its best trial by then"


@pytest.mark.parametrize(
    ("distil", "trainable", "message"),
    [
        ({}, "pixel_mlp", "'distil.from' is missing"),
        ({"from": "a", "weight": 0}, "pixel_mlp", "distil.weight: Input should be greater than 0, but got 0"),
        ({"from": "a", "temperature": 0}, "pixel_mlp", "distil.temperature: Input should be greater than 0"),
        ({"from": "a", "wieght": 1}, "pixel_mlp", "unknown key 'distil.wieght'; did you mean 'weight'"),
        ({"from": "a", "unlabelled": "faces"}, "pixel_mlp", "distil.unlabelled: faces without labels are not read yet"),
        (
            {"from": "a"},
            "curve",
            "distil: curve learns labels alone, no probabilities: want blendshape_lstm or blendshape_dense or",
        ),
    ],
)
def test_what_a_sweep_file_may_say(distil: dict[str, Any], trainable: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refuse_contradictions(student(distil=distil, trainable=trainable))


def test_trials_that_cannot_learn_probabilities_are_refused_by_what_is_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainables.load("pixel_mlp"), "LEARNS_PROBABILITIES", {"activation": "relu"})
    message = "distil: pixel_mlp learns probabilities with activation: relu alone: want space.fix.activation: relu"
    for space in ({}, {"fix": {"activation": "elu"}}):
        with pytest.raises(ValueError, match=message):
            refuse_contradictions(student(space=space))
    for space in ({"fix": {"activation": "relu"}}, {"range": {"activation": ["relu"]}}):
        refuse_contradictions(student(space=space))


def test_a_sweep_file_is_read_again_as_it_was_written() -> None:
    sweep = student(distil={"from": 3})
    assert sweep.distil is not None
    assert sweep.distil.teacher == "3"
    assert Sweep.model_validate(sweep.model_dump(mode="json")) == sweep
    assert "without effect: soft_labels, as distil gives each face of train its target" in remarks(sweep)


def test_at_a_temperature_of_1_targets_are_the_answers() -> None:
    answers = np.array([[0.7, 0.2, 0.1], [np.nan] * 3, [0.0, 1.0, 0.0]], np.float32)
    labels = np.array([2, 1, 0])
    np.testing.assert_allclose(targets(answers, labels, 1.0, 1.0), [[0.7, 0.2, 0.1], [0, 1, 0], [0, 1, 0]], atol=1e-7)
    np.testing.assert_allclose(targets(answers, labels, 0.5, 1.0)[0], [0.35, 0.1, 0.55], atol=1e-7)
