"""Scores against scikit-learn, intervals against simulation."""

import numpy as np
import pytest
from sklearn import metrics

from fersweep.results.scores import intervals
from fersweep.trainables.metrics import scores

CLASSES = ["happy", "sad", "neutral", "fear"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_seen", [2, 4])
def test_scores_are_scikit_learns(seed: int, num_seen: int) -> None:
    rng = np.random.default_rng(seed)
    y, predicted = rng.integers(0, num_seen, 200), rng.integers(0, 4, 200)
    found = scores(intervals.count(y, predicted, 4))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted))
    recall = metrics.recall_score(y, predicted, average=None, labels=range(4), zero_division=np.nan)
    np.testing.assert_allclose(found["recall"], recall)
    assert found["balanced_accuracy"] == pytest.approx(recall[:num_seen].mean())
    f1 = metrics.f1_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(f1)
    precision = metrics.precision_score(y, predicted, average=None, labels=range(4), zero_division=np.nan)
    np.testing.assert_allclose(found["precision"][:num_seen], precision[:num_seen])


def test_the_same_answers_have_one_interval_whether_or_not_classes_without_faces_are_named() -> None:
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(0, 2, 80), rng.integers(0, 4, 80)
    named = intervals.score_faces(intervals.count(y, predicted, 4), CLASSES)
    other = predicted > 1
    shared = intervals.score_faces(intervals.count(y[~other], predicted[~other], 2, y[other]), CLASSES[:2])
    for name in intervals.SCORES:
        assert named.score(name) == shared.score(name)
    assert {name: named.per_class[name] for name in CLASSES[:2]} == shared.per_class
    assert named.per_class["fear"].cells() == ["–", "–", "–", "0"]
    assert named.as_json()["per_class"]["fear"]["recall"] is None
    assert "nan" not in intervals.as_text(named)
    assert intervals.FaceScores.from_json(named.as_json()) == named


@pytest.mark.parametrize("y", [[0], [0, 0], [3, 3]])
def test_one_class_or_two_faces_give_no_nan(y: list[int]) -> None:
    figures = intervals.score_faces(intervals.count(np.array(y), np.zeros(len(y), int), 4), CLASSES, majority=1)
    assert "nan" not in intervals.as_text(figures) + str(figures.as_json()).lower()


def test_undetected_faces_count_as_wrong_and_as_no_class() -> None:
    y, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    found = scores(intervals.count(y, predicted, 2, undetected=np.array([1, 1])))
    assert found["accuracy"] == pytest.approx(3 / 6)
    assert found["recall"] == pytest.approx([1.0, 1 / 4])
    assert found["precision"] == pytest.approx([2 / 3, 1.0])
    assert found["macro_f1"] == pytest.approx((2 * 2 / (2 + 3) + 2 * 1 / (4 + 1)) / 2)


def test_resampling_cells_is_resampling_faces() -> None:
    """The multinomial draw has the spread of the textbook's draw of indices."""
    rng = np.random.default_rng(0)
    y = rng.choice(3, 300, p=[0.6, 0.3, 0.1])
    predicted = np.where(rng.random(300) < 0.7, y, rng.integers(0, 3, 300))
    cells = scores(intervals.resample(intervals.count(y, predicted, 3), 4000))["macro_f1"]
    rows = rng.integers(0, 300, (4000, 300))
    faces = scores(np.stack([intervals.count(y[r], predicted[r], 3) for r in rows]))["macro_f1"]
    assert cells.std() == pytest.approx(faces.std(), rel=0.06)
    assert np.quantile(cells, [0.025, 0.975]) == pytest.approx(np.quantile(faces, [0.025, 0.975]), abs=0.01)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    truth = np.array([[0.30, 0.08, 0.02, 0.0], [0.05, 0.25, 0.05, 0.0], [0.05, 0.02, 0.18, 0.0]])
    right = scores(truth * 1e6)
    drawn = np.random.default_rng(1).multinomial(600, truth.ravel(), size=400).reshape(-1, 3, 4)
    hits = dict.fromkeys(intervals.SCORES, 0)
    for counts in drawn:
        boot = scores(intervals.resample(counts, 400))
        for name in hits:
            low, high = np.percentile(boot[name], [2.5, 97.5])
            hits[name] += low <= right[name] <= high
    for name, number in hits.items():
        assert 0.91 <= number / 400 <= 0.985, name


def test_figures_are_the_same_every_time_and_hold_their_value() -> None:
    counts = intervals.count(np.array([0, 1, 2, 3, 0, 1]), np.array([0, 1, 2, 3, 1, 1]), 4)
    figures = intervals.score_faces(counts, CLASSES, majority=0)
    assert figures == intervals.score_faces(counts, CLASSES, majority=0)
    for name in intervals.SCORES:
        score = figures.score(name)
        assert score.low <= score.value <= score.high
    content = figures.as_json()
    assert intervals.FaceScores.from_json(content) == figures
    assert list(content) == ["num_faces", *intervals.SCORES, "per_class", "confusion", "baseline"]
    assert content["baseline"] == {
        "class": "happy",
        "accuracy": pytest.approx(2 / 6),
        "balanced_accuracy": pytest.approx(1 / 4),
        "macro_f1": pytest.approx((2 * 2 / (2 + 6)) / 4),
    }
    assert "happy" in intervals.as_text(figures)


def simulated(num: int, skill: float, rng: np.random.Generator, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """y (num,) and probabilities (num, C) of a model that is `skill` better than chance, with ties."""
    y = rng.integers(0, num_classes, num)
    raw = np.round(rng.random((num, num_classes)), 2) + 0.01
    raw[np.arange(num), y] += skill
    return y, raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(4))
def test_auc_is_scikit_learns(seed: int) -> None:
    y, probabilities = simulated(200, 0.3, np.random.default_rng(seed))
    wanted = metrics.roc_auc_score(y, probabilities, multi_class="ovr", average="macro")
    assert intervals.auc(y, probabilities) == pytest.approx(wanted)
    two = probabilities[:, :2] / probabilities[:, :2].sum(axis=1, keepdims=True)
    folded = np.minimum(y, 1)
    wanted = np.mean([metrics.roc_auc_score(folded == i, two[:, i]) for i in (0, 1)])
    assert intervals.auc(folded, two) == pytest.approx(wanted)
    assert np.isnan(intervals.auc(np.zeros(3, int), probabilities[:3]))


def test_calibration_is_the_textbooks() -> None:
    rng = np.random.default_rng(3)
    y, probabilities = simulated(500, 0.5, rng)
    calibration = intervals.calibration(y, probabilities, bins=10)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    wanted = 0.0
    for low in np.arange(10) / 10:  # a second way: face by face
        inside = [i for i in range(500) if low < confidence[i] <= low + 0.1]
        if inside:
            wanted += len(inside) / 500 * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration.ece == pytest.approx(wanted)
    assert sum(part.num for part in calibration.bins) == 500
    assert all(part.low < part.confidence <= part.high for part in calibration.bins)
    certain = np.eye(3)[y]
    assert intervals.calibration(y, certain).ece == 0
    # a model that draws its class by its own probabilities is calibrated:
    honest = rng.dirichlet(np.ones(2) * 2, 20_000)
    drawn = (rng.random(20_000) < honest[:, 1]).astype(int)
    assert intervals.calibration(drawn, honest).ece < 0.02
