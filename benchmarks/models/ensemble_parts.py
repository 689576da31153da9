"""How much each sweep adds to an ensemble, on val alone: the plain means of the sweeps' best trials, of each one, each two, …

    .venv/bin/python benchmarks/models/ensemble_parts.py runs/sweeps/cnn runs/sweeps/transfer runs/sweeps/seven_landmarks

All of one dataset and the same classes, as for `promote --ensemble`. A face that no member sees is wrong. val chose each
of the trials, so that all figures are optimistic; test is not read.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np

from fersweep.results.ensembles.pool import gather
from fersweep.results.ensembles.selection import mean, score
from fersweep.results.record.recorded_sweep import load_sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", type=Path, nargs="+")
    pool = gather([load_sweep(path) for path in parser.parse_args().sweeps])
    best: dict[str, int] = {}
    for index, trial in enumerate(pool.trials):  # of each sweep, best first
        best.setdefault(trial.recorded.sweep.name, index)
    print(f"{len(pool.y)} faces of val\n| mean of | accuracy | macro-F1 |\n|---|---|---|")
    for number in range(1, len(best) + 1):
        for members in combinations(best.values(), number):
            answers = mean(pool.probabilities[list(members)], np.ones(number, np.int64))
            names = " + ".join(pool.trials[member].name for member in members)
            figures = [score(answers, pool.y, metric) for metric in ("accuracy", "macro_f1")]
            print(f"| {names} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
