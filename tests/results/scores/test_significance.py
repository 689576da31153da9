"""Paired tests: against a second way, and on simulated models whose truth is known."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from fersweep.results.scores.significance import ScoreDifference, holm, mcnemar, paired


def answers(rng: np.random.Generator, num: int, skill_a: float, skill_b: float) -> tuple[np.ndarray, ...]:
    """y, and what two models answer that are right with the given chances and share half of their luck."""
    y, luck = rng.choice(3, num, p=[0.5, 0.3, 0.2]), rng.random(num)
    predicted = [y]
    for skill in (skill_a, skill_b):
        chance = np.where(rng.random(num) < 0.5, luck, rng.random(num))
        predicted.append(np.where(chance < skill, y, (y + 1 + rng.integers(0, 2, num)) % 3))
    return tuple(predicted)


def test_the_difference_is_that_of_the_scores_and_its_spread_that_of_resampled_faces() -> None:
    rng = np.random.default_rng(0)
    y, a, b = answers(rng, 400, 0.7, 0.6)
    test = paired(y, a, b, 3)
    f1 = [metrics.f1_score(y, predicted, average="macro") for predicted in (a, b)]
    assert test.macro_f1.difference == pytest.approx(f1[0] - f1[1])
    assert test.accuracy.difference == pytest.approx((a == y).mean() - (b == y).mean())
    rows = rng.integers(0, 400, (2000, 400))
    drawn = [(a[r] == y[r]).mean() - (b[r] == y[r]).mean() for r in rows]
    assert [test.accuracy.low, test.accuracy.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.01)
    assert paired(y, np.eye(3)[a], np.eye(3)[b], 3) == test, "probabilities say the same as the classes they choose"
    swapped = paired(y, b, a, 3)
    assert swapped.macro_f1.difference == -test.macro_f1.difference
    assert swapped.mcnemar.p == test.mcnemar.p


def test_no_answer_is_wrong_and_equal_models_do_not_differ() -> None:
    y = np.array([0, 1, 2, 0, 1, 2])
    test = paired(y, y, np.where(y == 2, -1, y), 3)
    assert test.accuracy.difference == pytest.approx(1 / 3)
    assert (test.mcnemar.only_a, test.mcnemar.only_b, test.mcnemar.p) == (2, 0, pytest.approx(0.5))
    same = paired(y, y, y, 3)
    assert same.macro_f1 == ScoreDifference(difference=0, low=0, high=0, p=1)
    assert same.mcnemar.p == 1
    with pytest.raises(ValueError, match="same faces"):
        paired(y, y, y[:3], 3)


@pytest.mark.slow
def test_intervals_cover_the_true_difference_and_p_values_are_honest() -> None:
    """400 simulated pairs: the interval holds the truth about 19 times of 20; equal models differ about once in 20."""
    rng, hits, false_alarms = np.random.default_rng(1), 0, {"bootstrap": 0, "mcnemar": 0}
    for _ in range(400):
        accuracy = paired(*answers(rng, 300, 0.72, 0.66), 3, resamples=400).accuracy
        hits += accuracy.low <= 0.06 <= accuracy.high
        equal = paired(*answers(rng, 300, 0.7, 0.7), 3, resamples=400)
        false_alarms["bootstrap"] += equal.accuracy.p < 0.05
        false_alarms["mcnemar"] += equal.mcnemar.p < 0.05
    assert 0.91 <= hits / 400 <= 0.985
    assert 0.02 <= false_alarms["bootstrap"] / 400 <= 0.09
    assert false_alarms["mcnemar"] / 400 <= 0.07  # exact, so on the safe side


def test_mcnemar_and_holm() -> None:
    assert mcnemar(30, 12) == pytest.approx(stats.binom.cdf(12, 42, 0.5) * 2)
    assert mcnemar(0, 0) == 1
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
