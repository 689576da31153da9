"""How often equal models are said to differ, and how often an equal candidate replaces the champion.

    .venv/bin/python benchmarks/statistics/false_alarms.py            # 400 pairs, 1,000 series a row
    .venv/bin/python benchmarks/statistics/false_alarms.py --quick    # 100 and 200

Before: twice the share of bootstrap resamples on the other side of 0. After: the permutation test. Two models answer 600 faces
of three classes; about so many faces they answer differently as the row says, each as likely right in one as in the other.
Prints Markdown tables.
"""

# scipy has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from fersweep.results.scores.significance import mcnemar, paired, spent
from fersweep.trainables.metrics import SCORES, scores

FACES, LEVEL = 600, 0.05
DISCORDANT = (2, 4, 8, 16, 50, 200)
TRIED = (1, 5, 20)
SHARES = (0.5, 0.35, 0.15)
SEQUENCES: dict[str, Callable[[int], float]] = {
    "n (n + 1)": lambda nth: nth * (nth + 1),
    "π²/6 · n²": lambda nth: np.pi**2 / 6 * nth**2,
    "2.11 (n + 1) ln² (n + 1)": lambda nth: 2.10974 * (nth + 1) * np.log(nth + 1) ** 2,
    "2.612 · n^1.5": lambda nth: 2.6123753 * nth**1.5,
    "2^n": lambda nth: 2.0**nth,
}


def bootstrap(y: np.ndarray, a: np.ndarray, b: np.ndarray, resamples: int = 2000) -> dict[str, float]:
    """p as it was: of a paired bootstrap over faces."""
    joint = np.bincount((y * 4 + a) * 4 + b, minlength=48)
    draws = np.random.default_rng(0).multinomial(len(y), joint / len(y), size=resamples).reshape(-1, 3, 4, 4)
    of_a, of_b = scores(draws.sum(axis=-1)), scores(draws.sum(axis=-2))
    p: dict[str, float] = {}
    for name in SCORES:
        drawn = of_a[name] - of_b[name]
        tail = min((drawn <= 0).mean(), (drawn >= 0).mean())
        p[name] = float(np.clip(2 * tail, 1 / resamples, 1))
    return p


def equal_models(discordant: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y and what two models answer (N,) that are right equally often, and differ in about so many faces."""
    y = rng.choice(3, FACES, p=SHARES)
    both = np.where(rng.random(FACES) < 0.7, y, (y + rng.integers(1, 3, FACES)) % 3)
    a, b = both.copy(), both.copy()
    rows = rng.choice(FACES, discordant, replace=False)
    wrong = (y[rows] + rng.integers(1, 3, discordant)) % 3
    heads = rng.random(discordant) < 0.5
    a[rows], b[rows] = np.where(heads, y[rows], wrong), np.where(heads, wrong, y[rows])
    return y, a, b


def alarms(pairs: int) -> None:
    print(f"Equal models said to differ (p < {LEVEL:g}), of {pairs} pairs; bootstrap / permutation, %\n")
    print("| faces that differ | " + " | ".join(name.replace("_", " ") for name in SCORES) + " |\n|---|---|---|---|")
    rng = np.random.default_rng(1)
    for discordant in DISCORDANT:
        before, after = dict.fromkeys(SCORES, 0), dict.fromkeys(SCORES, 0)
        for _ in range(pairs):
            y, a, b = equal_models(discordant, rng)
            old, new = bootstrap(y, a, b), paired(y, a, b, 3, resamples=50)
            for name in SCORES:
                before[name] += old[name] < LEVEL
                after[name] += new.score(name).p < LEVEL
        cells = [f"{100 * before[name] / pairs:.1f} / {100 * after[name] / pairs:.1f}" for name in SCORES]
        print(f"| {discordant} | {' | '.join(cells)} |", flush=True)


def replaced(series: int) -> None:
    """Equal candidates, one after the other, on the same faces of test; each replaces the champion if p < LEVEL and better."""
    rng = np.random.default_rng(2)
    first = {"plain": np.full(series, np.inf), "spent": np.full(series, np.inf)}
    for index in range(series):
        ease = rng.random(FACES)  # of a face, for all models
        champion = 0.5 * ease + 0.5 * rng.random(FACES) < 0.6
        for nth in range(1, max(TRIED) + 1):
            candidate = 0.5 * ease + 0.5 * rng.random(FACES) < 0.6
            gained, lost = int((candidate & ~champion).sum()), int((champion & ~candidate).sum())
            p = mcnemar(gained, lost) if gained > lost else 1.0
            for name, value in (("plain", p), ("spent", spent(p, nth))):
                if value < LEVEL:
                    first[name][index] = min(first[name][index], nth)
    print(f"\nThe champion replaced by an equal candidate, of {series} series of so many candidates, %\n")
    print("| candidates | p as it is | p spent |\n|---|---|---|")
    for tried in TRIED:
        plain, corrected = ((first[name] <= tried).mean() for name in ("plain", "spent"))
        print(f"| {tried} | {100 * plain:.1f} | {100 * corrected:.1f} |")


def power() -> None:
    """Chance that a candidate whose true difference is so many standard errors is taken, as the nth that is tried."""
    shown = (1, 2, 5, 10, 20, 50)
    print("\nA better candidate (3 standard errors) that is taken as the nth, and the mean over n = 1 … 50, %\n")
    print("| p times | " + " | ".join(map(str, shown)) + " | mean | mean at 4 |\n|" + "---|" * (len(shown) + 3))
    for name, factor in SEQUENCES.items():
        tails = np.array([LEVEL / 2 / factor(nth) for nth in range(1, 51)])
        at_3, at_4 = (norm.sf(norm.isf(tails) - effect) for effect in (3, 4))
        cells = [f"{100 * at_3[nth - 1]:.0f}" for nth in shown]
        print(f"| {name} | {' | '.join(cells)} | {100 * at_3.mean():.0f} | {100 * at_4.mean():.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 pairs, 200 series")
    quick = parser.parse_args().quick
    alarms(100 if quick else 400)
    replaced(200 if quick else 1000)
    power()


if __name__ == "__main__":
    main()
