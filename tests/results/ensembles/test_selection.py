"""Greedy selection of an ensemble, against all ensembles there are."""

from collections import Counter
from itertools import combinations_with_replacement

import numpy as np
import pytest

from fersweep.results.ensembles.selection import greedy, mean, score
from fersweep.trainables.metrics import SCORES, confusion, scores

METRICS = (*SCORES, "loss")


def answers(seed: int, num_models: int = 4, num: int = 60, unseen: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (T, N, 3) of models that are right about half of the faces each, and y (N,). `unseen`: of the even ones."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, num)
    logits = rng.normal(size=(num_models, num, 3))
    logits[:, np.arange(num), y] += rng.uniform(0.2, 1.0, (num_models, 1))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    probabilities[::2, : int(unseen * num)] = np.nan
    return probabilities.astype(np.float32), y


@pytest.mark.parametrize("unseen", [0.0, 0.3])
@pytest.mark.parametrize("metric", METRICS)
def test_the_choice_is_between_the_best_model_and_the_best_of_all_ensembles(metric: str, unseen: float) -> None:
    gained = 0.0
    for seed in range(6):
        probabilities, y = answers(seed, unseen=unseen)
        counts = greedy(probabilities, y, metric, max_rounds=4)

        def value(counts: np.ndarray, probabilities: np.ndarray = probabilities, y: np.ndarray = y) -> float:
            return score(mean(probabilities, counts), y, metric)

        alone = max(value(one) for one in np.eye(4, dtype=int))
        every = [
            np.bincount(members, minlength=4)
            for size in range(1, counts.sum() + 1)
            for members in combinations_with_replacement(range(4), size)
        ]
        assert alone - 1e-9 <= value(counts) <= max(map(value, every)) + 1e-9
        if np.array_equal(counts, greedy(probabilities, y, metric, max_rounds=5)):
            assert max(value(counts + one) for one in np.eye(4, dtype=int)) <= value(counts) + 1e-8, (
                "a step improves it"
            )
        gained += value(counts) - alone
    assert gained > 0.05


def test_it_is_what_the_paper_describes() -> None:
    for seed in range(4):
        probabilities, y = answers(seed, 5)
        probabilities = probabilities.astype(np.float64)

        def accuracy(chosen: list[int], probabilities: np.ndarray = probabilities, y: np.ndarray = y) -> float:
            return float((probabilities[chosen].mean(axis=0).argmax(axis=1) == y).mean())

        order = sorted(range(5), key=lambda i: -accuracy([i]))
        chosen = max((order[:size] for size in range(1, 6)), key=accuracy)
        while True:
            best = max(range(5), key=lambda i: accuracy([*chosen, i]))
            if accuracy([*chosen, best]) <= accuracy(chosen):
                break
            chosen = [*chosen, best]
        assert Counter(chosen) == Counter({i: n for i, n in enumerate(greedy(probabilities, y, "accuracy")) if n})


def test_rounds_and_bags() -> None:
    probabilities, y = answers(3, 6)
    free = greedy(probabilities, y, "loss")
    assert greedy(probabilities, y, "loss", max_rounds=0).max() == 1, "the first of the sorted list alone"
    assert greedy(probabilities, y, "loss", max_rounds=2).sum() <= free.sum()
    bagged = greedy(probabilities, y, "loss", bags=20)
    assert np.array_equal(bagged, greedy(probabilities, y, "loss", bags=20)), "drawn the same each time"
    assert bagged.sum() >= 20
    assert (bagged > 0).sum() > (free > 0).sum(), "half of the models each time: more of them have their turn"
    assert greedy(probabilities[:1], y, "loss", bags=3).tolist() == [3]


def test_a_face_that_nobody_sees_is_wrong_and_one_that_some_see_is_theirs() -> None:
    y = np.array([0, 1, 1])
    a = np.array([[0.8, 0.2], [0.6, 0.4], [np.nan, np.nan]])
    b = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8]])
    both = mean(np.stack([a, b]), np.array([3, 1]))
    np.testing.assert_allclose(both, [[0.825, 0.175], [0.6, 0.4], [0.2, 0.8]])
    assert score(a, y, "accuracy") == 1 / 3
    assert score(both, y, "accuracy") == 2 / 3
    counts = confusion(y, np.array([0, 0, 2]), 3)[:2]
    assert score(a, y, "macro_f1") == scores(counts[:, :3])["macro_f1"]
    np.testing.assert_allclose(score(a, y, "loss"), np.log([0.8, 0.4, 0.5]).mean())
    assert np.isnan(mean(a[None], np.array([1]))[2]).all()
