"""How often a "95 %" interval holds the truth: faces drawn one by one (before), and by person and twins as one (after).

    .venv/bin/python benchmarks/statistics/coverage.py            # 600 datasets a row
    .venv/bin/python benchmarks/statistics/coverage.py --quick    # 60

A model is right about a person's face with a chance that differs from person to person; twins get the same answer. The truth
is the mean over very many persons. Prints a Markdown table.
"""

from __future__ import annotations

import argparse

import numpy as np

from fersweep.results.scores import intervals
from fersweep.results.scores.resampling import resample
from fersweep.trainables.metrics import SCORES, scores

CASES = {  # persons, frames of each, shares of the classes, how much persons differ; twins: frames of one answer
    "600 faces, independent": (600, 1, (0.4, 0.35, 0.25), 0.0, False),
    "600 faces, classes 80 : 15 : 5": (600, 1, (0.8, 0.15, 0.05), 0.0, False),
    "100 persons × 3 frames": (100, 3, (0.4, 0.35, 0.25), 2.0, False),
    "100 persons × 10 frames": (100, 10, (0.4, 0.35, 0.25), 1.0, False),
    "300 faces, each with a twin": (300, 2, (0.4, 0.35, 0.25), 0.0, True),
    "15 persons × 20 frames": (15, 20, (0.4, 0.35, 0.25), 1.0, False),
    "8 persons × 20 frames": (8, 20, (0.4, 0.35, 0.25), 1.0, False),
    "5 persons × 20 frames": (5, 20, (0.4, 0.35, 0.25), 1.0, False),
}
Case = tuple[int, int, tuple[float, ...], float, bool]


def draw(case: Case, rng: np.random.Generator, factor: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, predicted and the person (N,) of `factor` times as many persons."""
    persons, frames, shares, spread, twins = case
    persons *= factor
    num_classes = len(shares)
    person = np.repeat(np.arange(persons), frames)
    one_class = twins or frames == 3  # three frames in a row show one expression
    y = (
        np.repeat(rng.choice(num_classes, persons, p=shares), frames)
        if one_class
        else rng.choice(3, len(person), p=shares)
    )
    skill = 1 / (1 + np.exp(-(0.8 + spread * rng.normal(size=persons))))
    luck, other = rng.random(len(person)), rng.integers(1, num_classes, len(person))
    if twins:
        luck, other = luck[person * frames], other[person * frames]
    return y, np.where(luck < skill[person], y, (y + other) % num_classes), person


def covered(case: Case, datasets: int) -> tuple[dict[str, float], dict[str, float]]:
    """Share of the datasets the interval of which holds the truth, by score: before and after."""
    rng, num_classes = np.random.default_rng(0), len(case[2])
    names = [str(index) for index in range(num_classes)]
    y, predicted, _ = draw(case, rng, 400_000 // (case[0] * case[1]))
    truth = scores(intervals.count(y, predicted, num_classes))
    before, after = dict.fromkeys(SCORES, 0), dict.fromkeys(SCORES, 0)
    for _ in range(datasets):
        y, predicted, person = draw(case, rng)
        counts = intervals.count(y, predicted, num_classes)
        drawn = scores(resample(counts))
        clusters = intervals.count_clusters(y, predicted, num_classes, person)
        figures = intervals.score_faces(counts, names, clusters=clusters)
        for name in SCORES:
            low, high = np.percentile(drawn[name], [2.5, 97.5])
            before[name] += int(low <= truth[name] <= high)
            after[name] += int(figures.score(name).low <= truth[name] <= figures.score(name).high)
    shares = [{name: hits / datasets for name, hits in each.items()} for each in (before, after)]
    return shares[0], shares[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="60 datasets a row instead of 600")
    datasets = 60 if parser.parse_args().quick else 600
    print(f"Of {datasets} datasets each; before / after, %\n")
    print("| faces | " + " | ".join(name.replace("_", " ") for name in SCORES) + " |\n|---|---|---|---|")
    for name, case in CASES.items():
        before, after = covered(case, datasets)
        cells = [f"{before[score]:.1%} / {after[score]:.1%}".replace("%", "") for score in SCORES]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
