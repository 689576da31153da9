"""Faces of one person, and twins: which they are, and that intervals and p take them as one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep.data_pipeline.dataset.schema import make_rows
from fersweep.data_pipeline.dataset.seal import write_dataset
from fersweep.data_pipeline.tasks.clusters import INDEPENDENT, clusters
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate.judgement import evaluate
from fersweep.results.scores import intervals
from fersweep.results.scores.figures import Refit, Seed
from fersweep.results.scores.resampling import resample
from fersweep.results.scores.significance import mcnemar, paired, spent
from fersweep.trainables.metrics import scores

CLASSES = ["happy", "sad", "neutral"]


def dataset(directory: Path, subjects: list[str | None], twins: bool = False) -> Path:
    """Twelve train and val faces, and a face of test for each subject; twins: its first two are the same, and one is
    never found. The third and fourth have one near twin."""
    num = 12 + len(subjects)
    rng = np.random.default_rng(0)
    scores_ = rng.random((num, 52)).astype(np.float32)
    faces = rng.integers(0, 255, (num, 8, 8)).astype(np.uint8)
    near: list[str | None] = [None] * num
    if twins:
        faces[13], scores_[13] = faces[12], scores_[12]
        scores_[-1] = np.nan
        near[14] = near[15] = "elsewhere"
    rows = make_rows(
        (8, 8),
        blendshapes=scores_,
        pixels=faces,
        source=[f"face:{index}" for index in range(num)],
        split=["train"] * 6 + ["val"] * 6 + ["test"] * len(subjects),
        label=[CLASSES[index % 3] for index in range(num)],
        duplicate_of=[None] * num,
        subject=[None] * 12 + subjects,
        origin=["a"] * (num - 2) + (["b"] * 2 if twins else ["a"] * 2),
        near_duplicate_of=near,
    )
    landmarks = {"border": 0.25, "size": 192, "bundle_sha256": "0" * 64, "mediapipe": "1.2.2"}
    fields: dict[str, Any] = {
        "image_size": (8, 8),
        "landmarks": landmarks,
        "sources": [],
        "options": {},
        "command": "test",
    }
    write_dataset(directory, [rows], fields)
    return directory


class First:
    """A model that always answers the first class."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.eye(3)[np.zeros(len(x), int)]


def test_a_person_s_faces_and_twins_are_one_cluster(tmp_path: Path) -> None:
    subjects = ["x", "y", None, None, "x", "z", None, "x", None]  # the last x is of another source: somebody else
    path = dataset(tmp_path / "persons", subjects, twins=True)
    known = clusters(Task(path, TaskSpec()), "test")
    assert known.number.tolist() == [0, 0, 1, 1, 0, 2, 3, 4, 5], "x and y share a picture; a near twin is the same face"
    assert known.loaded.tolist() == [True] * 8 + [False]
    assert (known.num, known.num_persons, known.num_unnamed, known.num_twins) == (6, 4, 4, 4)
    assert known.words == "4 persons and 4 faces of nobody by name, twins as one (6 groups)"
    assert clusters(Task(path, TaskSpec(features="pixels")), "test").loaded.all()
    val = clusters(Task(path, TaskSpec()), "val")
    assert (val.words, val.num) == (INDEPENDENT, 6)


def test_what_is_resampled_is_said_and_done(tmp_path: Path) -> None:
    """Three frames of each person, the same answer: the interval is that of a third of the faces."""
    persons: list[str | None] = [f"p{index // 3}" for index in range(90)]
    task = Task(dataset(tmp_path / "persons", persons), TaskSpec())
    figures = evaluate(First(), task, "test")
    assert figures.protocol.startswith("95 % percentile bootstrap over 30 persons, ")
    few = Task(dataset(tmp_path / "few", ["p", "p", "q", "q", "r", "r"]), TaskSpec())
    assert evaluate(First(), few, "test").protocol.endswith("of only 3 independent groups, so they are rough")
    nobody = evaluate(First(), Task(dataset(tmp_path / "nobody", [None] * 90), TaskSpec()), "test")
    assert "taken for independent" in nobody.protocol
    assert (nobody.all.accuracy.low, nobody.all.accuracy.high) == tuple(
        np.percentile(scores(resample(np.array(nobody.all.confusion)))["accuracy"], [2.5, 97.5])
    )
    assert figures.all.accuracy.low == figures.all.accuracy.high, (
        "each person has one face of each class: no chance in it"
    )
    assert figures.all.accuracy.value == nobody.all.accuracy.value


def frames(rng: np.random.Generator, persons: int, num: int, twins: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    person = np.repeat(np.arange(persons), num)
    y = rng.choice(3, persons, p=[0.4, 0.35, 0.25])[person]
    skill = np.full(persons, 0.65) if twins else 1 / (1 + np.exp(-0.8 - 2 * rng.normal(size=persons)))
    luck = rng.random(persons)[person] if twins else rng.random(len(person))
    return y, np.where(luck < skill[person], y, (y + 1) % 3), person


@pytest.mark.parametrize(("persons", "num", "twins"), [(100, 3, False), (100, 3, True), (12, 20, False)])
def test_intervals_of_persons_and_twins_cover_the_truth(
    persons: int, num: int, twins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals.Patterns.resample, "__defaults__", (300, 0))
    rng = np.random.default_rng(3)
    y, predicted, _ = frames(rng, 60_000, num, twins)
    truth = (y == predicted).mean()
    hits = {"faces": 0, "clusters": 0}
    for _ in range(200):
        y, predicted, person = frames(rng, persons, num, twins)
        counts = intervals.count(y, predicted, 3)
        low, high = np.percentile(scores(resample(counts, 300))["accuracy"], [2.5, 97.5])
        hits["faces"] += low <= truth <= high
        together = intervals.count_clusters(y, predicted, 3, person)
        accuracy = intervals.score_faces(counts, CLASSES, clusters=together).accuracy
        hits["clusters"] += accuracy.low <= truth <= accuracy.high
    assert hits["faces"] / 200 < 0.88
    assert hits["clusters"] / 200 >= 0.9


def test_clusters_of_one_face_give_the_same_figures_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    y, a, b = (rng.integers(0, 3, 200) for _ in range(3))
    counts = intervals.count(y, a, 3)
    assert intervals.count_clusters(y, a, 3, rng.permutation(200)) is None
    low, high = np.percentile(scores(resample(counts))["macro_f1"], [2.5, 97.5])
    macro_f1 = intervals.score_faces(counts, CLASSES).macro_f1
    assert (macro_f1.low, macro_f1.high) == (low, high)
    assert paired(y, a, b, 3, clusters=rng.permutation(200)) == paired(y, a, b, 3)
    with pytest.raises(ValueError, match="same faces"):
        paired(y, a, b, 3, clusters=np.arange(3))


def test_few_faces_that_differ_are_no_proof() -> None:
    """Four faces, all for a: each swap is as likely, so 2 of 16 ways differ as much."""
    y = np.arange(300) % 3
    b = np.where(np.arange(300) < 4, (y + 1) % 3, y)
    test = paired(y, y, b, 3)
    assert test.accuracy.p == test.mcnemar.p == mcnemar(4, 0) == 0.125
    assert test.balanced_accuracy.p == pytest.approx(0.125)
    assert test.macro_f1.p == pytest.approx(0.125)
    assert test.accuracy.low == 0, "no interval says what p does not"
    one = paired(y, y, b, 3, clusters=np.maximum(np.arange(300), 3))
    assert one.accuracy.p == one.macro_f1.p == 1, "one person's four faces can be swapped in one way only"


@pytest.mark.parametrize("num", [8, 60])
def test_p_of_clusters_is_that_of_every_swap(num: int) -> None:
    """Accuracy against all ways or many drawn ones, one by one."""
    rng = np.random.default_rng(num)
    person = np.repeat(np.arange(num), 3)
    y, a, b = rng.integers(0, 3, 3 * num), rng.integers(0, 3, 3 * num), rng.integers(0, 3, 3 * num)
    test = paired(y, a, b, 3, clusters=person, resamples=100)
    signs = rng.choice([False, True], (4000, num))[:, person]
    swapped = np.stack([np.where(signs, b, a), np.where(signs, a, b)])
    found = [scores(np.stack([intervals.count(y, row, 3) for row in rows])) for rows in swapped]
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        far = np.abs(found[0][name] - found[1][name]) >= abs(test.score(name).difference) - 1e-9
        assert test.score(name).p == pytest.approx(far.mean(), abs=0.04), name


def test_a_series_of_candidates_spends_the_level_once() -> None:
    shares = [1 / spent(1e-9, nth) * 1e-9 for nth in range(1, 20_000)]
    assert 0.99 < sum(shares) < 1
    assert spent(0.5, 7) == 1
    assert spent(0.01, 1) < spent(0.01, 2)
    with pytest.raises(ValueError, match="from 1"):
        spent(0.01, 0)


def test_a_refit_says_mean_and_deviation() -> None:
    seeds = [Seed(seed=index, value=value) for index, value in enumerate([0.7, 0.72, 0.74])]
    refit = Refit(epochs=3, metric="macro_f1", ensemble=False, seeds=seeds)
    assert (refit.mean, refit.deviation) == (pytest.approx(0.72), pytest.approx(0.02))
    assert str(refit) == "macro_f1 on test of 3 seeds: 0.7200 ± 0.0200 (mean ± standard deviation)"
    alone = refit.model_copy(update={"seeds": seeds[:1]})
    assert alone.deviation is None
    assert str(alone) == "macro_f1 on test of one seed: 0.7000"
