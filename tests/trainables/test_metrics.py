"""Our scores against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from fersweep.trainables.metrics import confusion, majority_baseline, scores


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("num_predicted", [1, 2, 7])
def test_scores_agree_with_scikit_learn(num_classes: int, num_predicted: int) -> None:
    rng = np.random.default_rng(num_classes * 10 + num_predicted)
    y = rng.permutation(np.arange(200) % num_classes)
    predicted = rng.integers(0, min(num_predicted, num_classes), 200)
    counts = confusion(y, predicted, num_classes)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(y, predicted, labels=range(num_classes)))
    figures = scores(counts)
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted))
    assert figures["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, predicted))
    assert figures["macro_f1"] == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
    expected = metrics.precision_recall_fscore_support(y, predicted, labels=range(num_classes), zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(figures[name], values)


def test_a_class_without_faces_counts_in_no_score_and_has_none() -> None:
    y, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    figures = scores(confusion(y, predicted, 3))
    assert figures["macro_f1"] == pytest.approx(
        metrics.f1_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0)
    )
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["balanced_accuracy"] == figures["accuracy"] == 0.75
    for name in ("precision", "recall", "f1"):
        assert np.isnan(figures[name]).tolist() == [False, False, True]


def test_the_baseline_guesses_the_majority_of_train() -> None:
    baseline = majority_baseline(np.array([1, 1, 0]), np.array([0, 0, 1, 1, 1, 1]), 2)
    assert baseline["majority_class"] == 1
    assert baseline["accuracy"] == pytest.approx(4 / 6)
    assert baseline["balanced_accuracy"] == pytest.approx(0.5)
