"""How far apart recorded trials are when they are trained again with other seeds: their curves, as a table.

    .venv/bin/python benchmarks/search_quality_steps/record_repeats.py --data runs/data/fer2013

Of the trials in dense_fer2013.parquet, evenly over their ranks by the last epoch. Columns: `trial` (of that file), `seed`,
`epoch`, `val_macro_f1` (float32). The dataset must be the one that the trials were recorded on.
"""

# pandas has no types here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import optuna
import pandas as pd

from benchmarks.search_quality_steps.searches import sweep_of
from benchmarks.search_quality_steps.tasks import METRIC, REPEATS, Table, arrays_of, read_metadata, recorded_trials
from fersweep import trainables
from fersweep.data_pipeline.dataset.manifest import read_manifest
from fersweep.search_spaces.sweep_file.searched_space import sample_space


def train(data: Path, task: str, hparams: dict[str, Any], trial: int, seed: int, epochs: int) -> pd.DataFrame:
    """One trial again: a row an epoch."""
    model = trainables.load("blendshape_dense").build(hparams, arrays_of(data, task), seed)
    curve = [model.fit(1)[0][METRIC] for _ in range(epochs)]
    return pd.DataFrame({"trial": trial, "seed": seed, "epoch": range(1, epochs + 1), METRIC: np.float32(curve)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=REPEATS)
    options = parser.parse_args()
    for threads in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[threads] = "1"  # of the processes that train
    recorded, table = recorded_trials(), Table()
    if read_manifest(options.data)["fingerprint"] != read_metadata()["dataset"]:
        raise SystemExit(f"{options.data} is not the dataset that the trials were recorded on")
    order = recorded.curves[:, -1].argsort()
    places = np.linspace(0, len(order) - 1, options.points).round().astype(int)
    jobs: list[tuple[Any, ...]] = []
    for index in order[places]:
        params = recorded.points[index]
        hparams = sample_space(sweep_of(table, 0), optuna.trial.FixedTrial(params))
        task = json.dumps(table.sweep["task"])
        jobs += [
            (options.data, task, hparams, recorded.trials[index], seed, table.max_epochs)
            for seed in range(1, options.seeds + 1)
        ]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        rows = pd.concat(list(pool.map(train, *zip(*jobs, strict=True))))
    rows.to_parquet(options.out, compression="zstd", index=False)
    last = rows[rows["epoch"] == table.max_epochs].groupby("trial")[METRIC]
    print(f"{options.out}: {options.points} trials × {options.seeds} seeds, {options.out.stat().st_size / 1e6:.2f} MB")
    print(f"last epoch: deviation between trials {last.mean().std():.4f}, between seeds {last.var().mean() ** 0.5:.4f}")


if __name__ == "__main__":
    main()
