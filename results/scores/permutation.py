"""Would two models that are equally good differ so much? Their answers are swapped, cluster by cluster.

Were the models alike, either could have given either's answers to a person's (or a face's) pictures, so each swap is as
likely as none: a sign-flip test (Fisher 1935; Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses). Of
accuracy it is McNemar's exact test where each cluster is one face. Clusters that both answer alike say nothing.
"""

# scipy has no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from itertools import product

import numpy as np

from fersweep.results.scores.resampling import batches

EXACT = 4096  # ways of swapping that are all gone through
SWAPS = (2_000, 20_000)  # drawn where there are more; the second where the first leave p small
RARE = 10  # swaps that differ as much: with fewer of the first, the second are drawn
BITS = 64
TOLERANCE = 1e-9  # of scores that are sums in another order


def p_of_accuracy(differences: np.ndarray, number: np.ndarray) -> float:
    """Exact two-sided p.

    differences: (P,) int64, how many faces more a is right about in a cluster; number: (P,) clusters that have it.
    """
    from scipy.stats import binom

    measured = abs(int(differences @ number))
    sizes, place = np.unique(np.abs(differences), return_inverse=True)
    num_of_size = np.bincount(place, weights=number, minlength=len(sizes)).astype(np.int64)
    chances, reach = np.ones(1), 0  # of each sum from -reach to reach
    for size, num in zip(sizes.tolist(), num_of_size.tolist(), strict=True):
        if size:
            step = np.zeros(2 * size * num + 1)
            step[:: 2 * size] = binom.pmf(np.arange(num + 1), num, 0.5)
            chances, reach = np.convolve(chances, step), reach + size * num
    return float(min(1.0, chances[np.abs(np.arange(-reach, reach + 1)) >= measured].sum()))


def p_of_class_scores(
    a: np.ndarray, b: np.ndarray, number: np.ndarray, support: np.ndarray, seed: int = 0
) -> dict[str, float]:
    """Two-sided p of `balanced_accuracy` and `macro_f1`; where more than EXACT ways are to be tried, of drawn ones:
    (1 + those that differ as much) / (1 + all drawn) (Phipson & Smyth 2010).

    Args:
        a, b: (P, 2C) what a cluster adds to each model's right answers and to its answers, by class.
        number: (P,) clusters that have the pattern.
        support: (C,) faces.
    """
    middle = number @ (a + b) / 2
    measured = _differences((number @ (a - b))[None], middle, support)
    patterns, number = _discordant(a - b, number)
    if not len(patterns):
        return dict.fromkeys(measured, 1.0)

    whole = patterns.astype(np.float32)  # their sums are whole numbers, below 2 ** 24

    def as_far(signs: np.ndarray) -> dict[str, np.ndarray]:
        """Of each way, (R, P) clusters not swapped minus those swapped: whether it differs as much."""
        swapped = _differences((signs @ whole).astype(np.float64), middle, support)
        return {name: np.abs(swapped[name]) >= abs(measured[name][0]) - TOLERANCE for name in measured}

    if np.log(number + 1.0).sum() <= np.log(EXACT):
        signs, chances = _all_ways(number)
        return {name: float(min(1.0, chances[far].sum())) for name, far in as_far(signs).items()}
    rng = np.random.default_rng(seed)
    drawn, hits = 0, dict.fromkeys(measured, 0)
    for swaps in SWAPS:
        for size in batches(swaps, 4 * len(number)):
            for name, far in as_far(_some_ways(rng, number, size)).items():
                hits[name] += int(far.sum())
        drawn += swaps
        if min(hits.values()) >= RARE:
            break
    return {name: (1 + hit) / (1 + drawn) for name, hit in hits.items()}


def _differences(difference: np.ndarray, middle: np.ndarray, support: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of a minus those of b, (R,), of the counts middle ± difference / 2; difference (R, 2C)."""
    seen = support > 0
    num = len(support)
    scores: list[tuple[np.ndarray, np.ndarray]] = []
    for counts in (middle + difference / 2, middle - difference / 2):
        right, answered = counts[:, :num][:, seen], counts[:, num:][:, seen]
        recall, f1 = right / support[seen], 2 * right / (support[seen] + answered)
        scores.append((recall.mean(axis=1), f1.mean(axis=1)))
    return {name: scores[0][i] - scores[1][i] for i, name in enumerate(("balanced_accuracy", "macro_f1"))}


def _discordant(differences: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The patterns that differ, each once: one and its opposite are swapped alike."""
    differs = differences.any(axis=1)
    differences, number = differences[differs], number[differs]
    if not len(differences):
        return differences, number
    leading = differences[np.arange(len(differences)), (differences != 0).argmax(axis=1)]
    patterns, place = np.unique(differences * np.sign(leading)[:, None], axis=0, return_inverse=True)
    return patterns, np.bincount(place.ravel(), weights=number).astype(np.int64)


def _some_ways(rng: np.random.Generator, number: np.ndarray, size: int) -> np.ndarray:
    """Clusters of each pattern not swapped minus those swapped, of `size` ways, each cluster by a toss: (size, P)."""
    signs = np.empty((size, len(number)), np.float32)
    few = number <= BITS  # tosses that are bits of one word
    words = rng.integers(0, 2**BITS, (size, int(few.sum())), np.uint64)
    masks = np.uint64(2**BITS - 1) >> (BITS - number[few]).astype(np.uint64)
    signs[:, few] = number[few] - 2.0 * np.bitwise_count(words & masks)
    signs[:, ~few] = number[~few] - 2.0 * rng.binomial(number[~few], 0.5, (size, int((~few).sum())))
    return signs


def _all_ways(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of each pattern not swapped minus those swapped (R, P), and the chance of each way (R,)."""
    from scipy.stats import binom

    swapped = np.array(list(product(*(range(num + 1) for num in number.tolist()))))
    return (number - 2.0 * swapped).astype(np.float32), np.prod(binom.pmf(swapped, number, 0.5), axis=1)
