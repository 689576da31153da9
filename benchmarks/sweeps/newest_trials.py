"""What TPE loses by being shown the newest trials and its best instead of all (cluster/samplers/known_trials.py).

    .venv/bin/python benchmarks/sweeps/newest_trials.py

1,500 trials one after another of Hartmann's function of six parameters (Dixon & Szegö 1978; its maximum is 3.322), measured
with noise of 0.05; the same seeds with either view.
"""

# Parts of optuna have no types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, distribution_to_json

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from fersweep.cluster.samplers.asked import Shown  # noqa: E402
from fersweep.cluster.samplers.known_trials import KnownTrials  # noqa: E402
from fersweep.cluster.samplers.record_storage import RecordStorage  # noqa: E402
from fersweep.cluster.samplers.registry import GOOD, SAMPLERS  # noqa: E402
from fersweep.results.record.optuna_study import OneMetric  # noqa: E402
from fersweep.results.record.trial_record import Epochs, TrialRecord  # noqa: E402
from fersweep.search_spaces.sweep_file.sections.samplers import Tpe  # noqa: E402

NAMES = [f"x{index}" for index in range(6)]
DRAWN = dict.fromkeys(NAMES, distribution_to_json(FloatDistribution(0, 1)))
ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(x: np.ndarray) -> float:
    """x (6,) in [0, 1] → the value."""
    return float((ALPHA * np.exp(-(A * (x - P) ** 2).sum(axis=1))).sum())


def search(seed: int, newest: int, num_trials: int) -> tuple[float, float, float]:
    """The best value, the mean of the last third, and CPU milliseconds a suggestion."""
    shown = Shown(newest, GOOD, curves=True, keeps=False)
    known, rng = KnownTrials(OneMetric("value", "max"), shown), np.random.default_rng(seed)
    values: list[float] = []
    start = time.process_time()
    for number in range(num_trials):
        drawn = int(np.random.default_rng([seed, number]).integers(2**31))
        sampler = optuna.samplers.TPESampler(seed=drawn, multivariate=True, group=True, constant_liar=True)
        storage = RecordStorage(known, number, "s")
        trial = optuna.load_study(study_name="s", sampler=sampler, storage=storage).ask()
        values.append(hartmann(np.array([trial.suggest_float(name, 0, 1) for name in NAMES])))
        epochs = Epochs([{"epoch": 1, "value": values[-1] + float(rng.normal(0, 0.05))}])
        known.see(TrialRecord(number, {}, trial.params, DRAWN, epochs=epochs, state="finished", ended_at=1.0))
    took = time.process_time() - start
    return max(values), float(np.mean(values[-num_trials // 3 :])), took / num_trials * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    shown = SAMPLERS["tpe"].shown(Tpe()).newest
    print("| seed | TPE is shown | best | mean of the last third | CPU ms a suggestion |\n|---|---|---|---|---|")
    for seed in range(options.seeds):
        for newest in (shown, options.trials):
            best, mean, took = search(seed, newest, options.trials)
            print(f"| {seed} | {newest} | {best:.3f} | {mean:.3f} | {took:.1f} |", flush=True)


if __name__ == "__main__":
    main()
