"""Reading a sweep back: which sweeps there are, and which trials won."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import recall_score

from fersweep.cluster.resume import _refuse_older_scores
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.compare import sweeps
from fersweep.results.compare.comparison import Comparison, comparison
from fersweep.results.compare.data import SweepTrials
from fersweep.results.compare.sweeps import choose
from fersweep.results.compare.tables import render_sweep
from fersweep.results.compare.trials import compare
from fersweep.results.record import checkpoints, journal, timeline
from fersweep.results.record.home import find_sweep
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.storage import Storage
from fersweep.results.scores import paired, significance
from fersweep.results.scores.paired import Difference, NoDifference
from fersweep.results.tracking import recorder_process
from fersweep.trainables import metrics
from tests.recorded import check_all_recorded
from tests.sweeps import METRIC, FakeDriver, write_sweep, write_sweep_json


@pytest.fixture(scope="module")
def sweep_dir(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    return write_sweep(tmp_path_factory.mktemp("home"), tiny_dataset, num_trials=6)


def shown(compared: SweepTrials) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(render_sweep(compared))
    return capture.get()


def narrow(compared: Comparison) -> str:
    """What a terminal of 80 columns shows."""
    console = Console(width=80)
    with console.capture() as capture:
        console.print(compared.render())
    return capture.get()


def test_the_best_come_first_with_what_their_predictions_say(sweep_dir: Path) -> None:
    compared = compare(sweep_dir, top=3)
    json.dumps(compared.as_json(), allow_nan=False)
    record = journal.read(sweep_dir / "journal.jsonl")
    values = [trial.value(METRIC, "max") or 0 for trial in record.trials.values() if trial.state != "failed"]
    assert [row.value for row in compared.trials] == sorted(values, reverse=True)[:3]
    assert compared.states == {"running": 0, "finished": 3, "stopped": 2, "failed": 1}
    assert compared.total_epochs == 3 * 9 + 2 * 2 + 2
    row = compared.trials[0]
    with np.load(sweep_dir / "trials" / f"{row.trial:04d}" / "predictions.npz") as val:
        wanted = recall_score(val["y"], val["probabilities"].argmax(axis=1), average=None)
    assert list((row.recall or {}).values()) == pytest.approx(wanted)
    assert row.hparams.keys() == {"rate"}
    assert compared.hparams == {"top": 0.8, "noise": 0.01}


def test_the_baselines_stand_beside(sweep_dir: Path) -> None:
    sweep = load_sweep(sweep_dir).sweep
    (majority,) = compare(sweep_dir).baselines
    assert majority.scores["val_macro_f1"] == sweep.baseline.macro_f1
    assert sorted(majority.recall.values()) == [0.0, 0.0, 1.0]
    text = shown(compare(sweep_dir))
    assert f"always {sweep.baseline.majority_class}" in text
    assert "0002" not in text, "a failed trial is not among the best"


def test_a_sweep_under_way(tmp_path: Path, tiny_dataset: Path) -> None:
    arrays = Task(tiny_dataset).arrays()
    sweep_dir = write_sweep_json(tmp_path, tiny_dataset, arrays)
    assert compare(sweep_dir).trials == []
    assert "No trials yet" in shown(compare(sweep_dir))
    driver = FakeDriver(sweep_dir, arrays)
    driver.sample(0, {"rate": 0.1})
    driver.report(0, [{"epoch": 1, METRIC: 0.4, "val_accuracy": 0.5}])
    driver.sample(1, {"rate": 0.1, "extra": 1})
    (row,) = compare(sweep_dir).trials
    assert (row.value, row.recall, row.state) == (0.4, None, "running")
    assert compare(sweep_dir).hparams == {"rate": 0.1}
    assert "–" in shown(compare(sweep_dir))
    driver.journal.close()


@pytest.mark.parametrize("older", [False, True])
def test_a_class_without_val_faces_counts_in_no_score_and_says_so(
    older: bool, tmp_path: Path, tiny_dataset: Path
) -> None:
    arrays = Task(tiny_dataset, TaskSpec()).arrays()
    absent, keep = arrays.classes[2], arrays.val.y != 2
    sweep_dir = write_sweep_json(tmp_path, tiny_dataset, arrays)
    if not older:
        numbers = {"train": dict.fromkeys(arrays.classes, 5), "val": {**dict.fromkeys(arrays.classes, 5), absent: 0}}
        written = json.loads((sweep_dir / "sweep.json").read_text())
        (sweep_dir / "sweep.json").write_text(json.dumps({**written, "num_by_class": numbers}))
    driver = FakeDriver(sweep_dir, arrays)
    driver.sample(0, {"rate": 0.1})
    driver.report(0, [{"epoch": 1, METRIC: 0.5}])
    driver.end(0, "stopped")
    driver.journal.close()
    storage = Storage(sweep_dir)
    checkpoints.save_predictions(storage, 0, 1, arrays.val.y[keep], np.eye(3)[arrays.val.y[keep]].astype(np.float32))
    compared = compare(sweep_dir)
    (row,) = compared.trials
    assert row.recall == {arrays.classes[0]: 1, arrays.classes[1]: 1, absent: None}
    assert compared.baselines[0].recall[absent] is None
    (note,) = compared.notes
    assert note == (
        f"no val faces of {absent}: macro-F1 is an older version's, and counts it where it is predicted"
        if older
        else f"no val faces of {absent}: it counts in no score"
    )
    assert "nan" not in shown(compared)
    assert row.ended == "stopped at epoch 1"
    json.dumps(compared.as_json(), allow_nan=False)
    if not older:
        now = choose(tmp_path, "tiny")
        before = dataclasses.replace(load_sweep(sweep_dir), sweep=now.sweep.model_copy(update={"num_by_class": {}}))
        (reason,) = sweeps.reasons([now, sweeps.Chosen(paired.Faces(before), None)])
        assert reason.startswith("other macro-F1: ")
    left = dataclasses.replace(arrays, val=dataclasses.replace(arrays.val, y=np.where(keep, arrays.val.y, 0)))
    recorded = load_sweep(sweep_dir)
    with pytest.raises(InputError, match="an older version") if older else contextlib.nullcontext():
        _refuse_older_scores(recorded.sweep, left, recorded.record)


def test_scores_with_the_mirror_image_stand_apart(tmp_path: Path, tiny_dataset: Path) -> None:
    arrays = Task(tiny_dataset, TaskSpec(features="pixels")).arrays()
    sweep_dir = write_sweep_json(tmp_path, tiny_dataset, arrays, trainable="cnn")
    driver = FakeDriver(sweep_dir, arrays)
    driver.journal.session("started")
    hparams = {"widths": [4, 6], "image_size": 24}
    driver.run_trial(0, {**hparams, "tta": True}, 2, "finished")
    driver.run_trial(1, {**hparams, "tta": False}, 1, "finished")
    driver.journal.session("finished")
    driver.journal.close()
    compared = compare(sweep_dir)
    assert compared.faces == "all faces"
    first, second = sorted(compared.trials, key=lambda row: row.trial)
    assert first.scores.keys() - second.scores.keys() == {
        "val_tta_accuracy",
        "val_tta_balanced_accuracy",
        "val_tta_macro_f1",
    }
    text = shown(compared)
    assert text.count("mirror image") == 1
    assert f"{first.scores['val_tta_accuracy']:.4f}" in text.partition("mirror image")[2]
    recorder_process.record(sweep_dir)
    runs = check_all_recorded(sweep_dir)
    at_best = runs["0000"].data.metrics["best/val_tta_accuracy"]
    assert at_best == first.scores["val_tta_accuracy"]


def test_an_unknown_sweep_is_refused_with_the_known_ones(sweep_dir: Path, tmp_path: Path) -> None:
    home = sweep_dir.parents[1]
    assert find_sweep(home, "tiny") == sweep_dir
    with pytest.raises(InputError, match=r"no sweep 'tony'.*known: tiny"):
        find_sweep(home, "tony")
    with pytest.raises(InputError, match="it is empty"):
        find_sweep(tmp_path, "tiny")
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(InputError, match="not a sweep's record"):
        load_sweep(tmp_path)


@pytest.mark.processes
def test_comparing_imports_no_framework() -> None:
    heavy = ("mlflow", "tensorflow", "torch", "ray", "sklearn", "pandas", "matplotlib")
    code = f"import sys, fersweep.results.compare.trials, fersweep.results.evaluate.judgement; print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    """A home of two sweeps whose trials answer as they should: `faces` of blendshapes, `pixels` of all faces."""
    home = tmp_path_factory.mktemp("two")
    for name, features in (("faces", "blendshapes"), ("pixels", "pixels")):
        arrays = Task(tiny_dataset, TaskSpec(features=features)).arrays()  # pyright: ignore[reportArgumentType]
        driver = FakeDriver(write_sweep_json(home, tiny_dataset, arrays, name), arrays)
        driver.journal.session("started")
        for trial, share in enumerate([0.9, 0.88, 0.3]):
            driver.sample(
                trial, {"rate": 0.1 * (trial + 1), "top": 0.8, **({"wide": True} if name == "pixels" else {})}
            )
            answers = right(arrays.val.y, share, trial)
            scores = metrics.scores(metrics.confusion(arrays.val.y, answers.argmax(axis=1), 3))
            row = {f"val_{name}": float(scores[name]) for name in metrics.SCORES}
            driver.report(trial, [{"epoch": 1, **row, "epoch_s": 2.0}])
            checkpoints.save_predictions(Storage(driver.sweep_dir), trial, 1, arrays.val.y, answers)
            driver.end(trial, "finished")
        driver.journal.session("finished")
        driver.journal.close()
    return home


def right(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """(N, 3) probabilities that are right of about this share of faces, the same ones for every seed that is even."""
    wrong = np.random.default_rng(seed % 2).random(len(y)) > share
    return np.eye(3, dtype=np.float32)[np.where(wrong, (y + 1) % 3, y)]


def test_a_difference_within_noise_is_told_from_one_that_is_not(two: Path) -> None:
    compared = compare(two / "sweeps" / "faces")
    first, second, third = (row.against_best for row in compared.trials)
    assert first is None
    assert isinstance(second, Difference)
    assert isinstance(third, Difference)
    assert [second.within_noise, third.within_noise] == [True, False]
    assert [second.p_holm, third.p_holm] == significance.holm([second.p, third.p])
    assert third.decisive == third.macro_f1
    assert third.macro_f1.difference > third.macro_f1.low > 0
    assert third.mcnemar.only_b == 0, "what the worst is right about, the best is too"
    last = [line.split()[-1] for line in shown(compared).splitlines() if line.strip().startswith("000")][:3]
    assert last == ["best", "noise", f"{third.p_holm:.2g}"]
    assert "2 comparisons" in " ".join(shown(compared).split())
    row = json.loads(json.dumps(compared.as_json()))["trials"][2]["against_best"]
    scores = ["accuracy", "balanced_accuracy", "macro_f1"]
    assert list(row) == ["faces", "n", *scores, "mcnemar", "score", "p", "p_holm", "within_noise", "resampled"]


def test_sweeps_that_saw_other_faces_are_compared_on_those_that_both_saw(two: Path) -> None:
    compared = comparison(two, ["faces", "pixels"])
    printed = json.loads(json.dumps(compared.as_json(), allow_nan=False))
    assert printed["reasons"] == ["other faces: faces: detected faces; pixels: all faces"]
    assert printed["trials"] == [], "no ranking of values that mean different things"
    (pair,) = printed["pairs"]
    detected, everyone = (sweep["num_faces"] for sweep in printed["sweeps"])
    assert detected < everyone
    assert list(pair)[:4] == ["a", "b", "faces", "n"]
    assert pair["n"] == detected
    assert pair["faces"] == f"{detected} faces of val that both see ({detected} and {everyone})"
    assert [sweep["best"]["low"] < sweep["best"]["high"] for sweep in printed["sweeps"]] == [True, True]
    assert [sweep["trial_s"] > 0 for sweep in printed["sweeps"]] == [True, True]
    assert printed["differences"]["hparams"] == {"wide": [None, True]}
    assert "the scores above are not comparable: other faces" in narrow(compared)
    assert "these can be compared" in " ".join(narrow(compared).split())
    assert max(map(len, narrow(compared).splitlines())) <= 80
    page = compared.page()
    assert "The scores below are not comparable" in page
    assert "faces:0" in page


def test_the_join_is_of_the_same_faces(two: Path, tiny_dataset: Path) -> None:
    """Each sweep's answers are in an order of their own; on the faces that both saw, they are those of the same face."""
    a, b = (choose(two, name) for name in ("faces", "pixels:2"))
    answers_a, answers_b = a.answers(), b.answers()
    assert answers_a is not None
    assert answers_b is not None
    rows_a, rows_b, _ = paired._join(answers_a, answers_b)
    task = Task(tiny_dataset)
    np.testing.assert_array_equal(task.load("val").face_ids[rows_a], b.faces.ids[rows_b])
    np.testing.assert_array_equal(answers_a.y[rows_a], answers_b.y[rows_b])
    assert len(rows_a) == len(answers_a.y)
    gone = changed(b, dataset=b.sweep.dataset.model_copy(update={"path": two / "gone"}))
    other = dataclasses.replace(answers_b, faces=gone.faces)
    (difference,) = paired.differences([(answers_a, other)], "accuracy")
    assert isinstance(difference, NoDifference)
    assert "cannot be joined" in difference.missing


def test_sweeps_of_the_same_faces_have_one_ranking(two: Path) -> None:
    with pytest.raises(InputError, match="faces is named twice"):
        comparison(two, ["faces", "faces"])
    printed = sweeps.compare_sweeps(two, ["faces", "faces"], 4).as_json()
    assert printed["reasons"] == []
    assert [row["trial"] for row in printed["trials"]] == [0, 0, 1, 1]
    assert printed["trials"][1]["against_best"]["p"] == 1
    assert printed["pairs"][0]["mcnemar"] == {"only_a": 0, "only_b": 0, "p": 1.0}


def test_beside_a_best_trial_without_predictions_no_difference_is_shown(tmp_path: Path, tiny_dataset: Path) -> None:
    arrays = Task(tiny_dataset).arrays()
    driver = FakeDriver(write_sweep_json(tmp_path, tiny_dataset, arrays), arrays)
    driver.sample(0, {"rate": 0.1})
    driver.report(0, [{"epoch": 1, METRIC: 1.0}])
    driver.run_trial(1, {"rate": 0.2, "top": 0.8}, 2, "finished")
    driver.journal.close()
    none = NoDifference("a trial has no predictions on val yet")
    assert [trial.against_best for trial in compare(driver.sweep_dir).trials] == [None, none]
    compared = sweeps.compare_sweeps(tmp_path, ["tiny", "tiny"])
    assert [(trial.trial, trial.against_best) for trial in compared.trials] == [
        (0, None),
        (0, none),
        (1, none),
        (1, none),
    ]


def changed(chosen: sweeps.Chosen, **changes: Any) -> sweeps.Chosen:
    """As if other things were written in the `sweep.json` of a sweep."""
    recorded = chosen.faces.recorded
    recorded = dataclasses.replace(recorded, sweep=recorded.sweep.model_copy(update=changes))
    return dataclasses.replace(chosen, faces=paired.Faces(recorded))


def test_other_classes_metrics_and_datasets_are_said(two: Path) -> None:
    a, b = (choose(two, "faces") for _ in range(2))
    stop = b.sweep.asked.stop.model_copy(update={"metric": "val_loss"})
    b = changed(
        b,
        classes=["happy", "other"],
        asked=b.sweep.asked.model_copy(update={"name": "else", "stop": stop}),
        dataset=b.sweep.dataset.model_copy(update={"fingerprint": "sha256:0123456789abcdef"}),
    )
    reasons = "\n".join(sweeps.reasons([a, b]))
    for line in ("other metric: faces: max val_macro_f1; else: max val_loss", "0123456789ab)", "else: happy, other"):
        assert line in reasons
    assert "missing" in sweeps.compare_trials(a, b).as_json()["difference"], "its answers are of three classes"


@pytest.mark.parametrize("arguments", [(["faces:0", "faces:2"], None), (["faces"], ("0", "faces:2"))])
def test_two_trials(two: Path, arguments: tuple[list[str], tuple[str, str] | None]) -> None:
    compared = comparison(two, arguments[0], differences=arguments[1])
    printed = json.loads(json.dumps(compared.as_json()))
    assert printed["hparams"] == {"rate": [0.1, pytest.approx(0.3)]}
    assert printed["num_same"] == 1
    assert (printed["a"]["name"], printed["b"]["name"]) == ("faces:0", "faces:2")
    assert printed["difference"]["macro_f1"]["difference"] > 0
    assert "rate" in narrow(compared)
    assert "top" not in narrow(compared)
    assert "rate" in compared.page()


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["faces:9", "faces:0"], {}, "sweep 'faces' has no trial 9; trials: 0 to 2"),
        (["faces:1", "faces:2", "pixels"], {}, "two trials are compared at a time"),
        (["faces:1"], {}, "two trials are compared at a time"),
        (["faces", "nothing"], {}, "no sweep 'nothing'"),
        (["faces", "pixels"], {"differences": ("1", "2")}, "write SWEEP:1"),
        (["faces", "pixels"], {"trees": lambda directory: {}}, "--trees"),
    ],
)
def test_what_cannot_be_compared(two: Path, names: list[str], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        comparison(two, names, **options)


def test_a_trial_is_named_behind_its_sweep() -> None:
    assert sweeps.split_spec("cnn:7") == ("cnn", 7)
    assert sweeps.split_spec("cnn") == ("cnn", None)
    assert sweeps.split_spec("s3://bucket/team/cnn") == ("s3://bucket/team/cnn", None)
    assert sweeps.split_spec("s3://bucket/team/cnn:7") == ("s3://bucket/team/cnn", 7)


def test_what_a_sweep_cost(tmp_path: Path) -> None:
    """Two sessions with a night between them; a trial that the second one picks up has trained 5 s before it reports."""
    events = [
        (0, "session", {"action": "started"}),
        (1, "sampled", {"trial": 0, "hparams": {}}),
        (11, "report", {"trial": 0, "epochs": [{"epoch": 1, "epoch_s": 9.0}]}),
        (12, "sampled", {"trial": 1, "hparams": {}}),
        (20, "ended", {"trial": 0, "state": "finished"}),
        (50_000, "session", {"action": "started"}),
        (50_030, "report", {"trial": 1, "epochs": [{"epoch": 1, "epoch_s": 5.0}]}),
        (50_040, "ended", {"trial": 1, "state": "finished"}),
        (50_041, "session", {"action": "finished"}),
    ]
    lines = [json.dumps({"time": at, "event": kind, **fields}) + "\n" for at, kind, fields in events]
    (tmp_path / "journal.jsonl").write_text("".join(lines))
    assert timeline.cost(tmp_path / "journal.jsonl") == timeline.Cost(wall_s=20 + 41, trial_s=10 + 9 + 5 + 10)


def test_an_interval_is_of_the_value_that_it_stands_beside(sweep_dir: Path, two: Path) -> None:
    """`curve` makes its metrics up, so that its answers say nothing of them."""
    made_up, real = (
        sweeps.compare_sweeps(home, [name, name]).as_json()["sweeps"][0]["best"]
        for home, name in ((sweep_dir.parents[1], "tiny"), (two, "faces"))
    )
    assert (made_up["low"], made_up["high"]) == (None, None)
    assert real["low"] < real["value"] < real["high"]
