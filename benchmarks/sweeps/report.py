"""The cost of a sweep's page: seconds and megabytes for 200 trials of `blendshape_dense`, beside plain optuna.visualization.

The trials are sampled from the recipe's space; their learning curves and probabilities are drawn, not trained.
Each variant runs in a process of its own, imports included. "optuna.visualization": its eight plots of the same study,
each written to an HTML file of its own.

    .venv/bin/python benchmarks/sweeps/report.py --trials 200 --keep /tmp/page
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
PLOTS = (
    "optimization_history", "intermediate_values", "parallel_coordinate", "param_importances", "slice", "contour", "timeline",
    "edf",
)  # fmt: skip


def write(home: Path, num_trials: int) -> Path:
    """The directory of the sweep."""
    import json

    import numpy as np
    import optuna
    from optuna.distributions import distribution_to_json

    from fersweep.data_pipeline.tasks.task import Task
    from fersweep.results.record import checkpoints
    from fersweep.results.record.storage import Storage
    from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
    from fersweep.search_spaces.sweep_file.searched_space import sample_space
    from tests.datasets import write_tiny_dataset
    from tests.sweeps import write_journal, write_sweep_json

    sweep = read_sweep("blendshape_dense", [])
    data = write_tiny_dataset(home / "data" / "tiny", num_faces=12_000)
    task = Task(data, sweep.task)
    sweep_dir = write_sweep_json(home, data, task.arrays(), "dense", "blendshape_dense")
    record = json.loads((sweep_dir / "sweep.json").read_text()) | {"sweep": sweep.model_dump(mode="json")}
    (sweep_dir / "sweep.json").write_text(json.dumps(record))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), []
    for _ in range(num_trials):
        trial = study.ask()
        hparams = sample_space(sweep, trial)
        distributions = {name: distribution_to_json(drawn) for name, drawn in trial.distributions.items()}
        sampled.append({"hparams": hparams, "params": trial.params, "distributions": distributions})
    write_journal(sweep_dir, sampled)
    y, rng = task.load("val").y, np.random.default_rng(0)
    for number in range(num_trials):
        answers = rng.dirichlet(np.ones(len(task.classes)), len(y)).astype(np.float32)
        answers[np.arange(len(y)), y] += 0.5
        checkpoints.save_predictions(Storage(sweep_dir), number, 1, y, answers / answers.sum(axis=1, keepdims=True))
    return sweep_dir


def ours(sweep_dir: Path) -> list[Path]:
    from fersweep.results.report.page import write_report

    return [Path(write_report(sweep_dir).report)]


def plain(sweep_dir: Path) -> list[Path]:
    import optuna

    from fersweep.results.record.optuna_study import study_of
    from fersweep.results.record.recorded_sweep import load_sweep

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, written = study_of(load_sweep(sweep_dir).record, "val_macro_f1", "max"), []
    for name in PLOTS:
        written.append(sweep_dir / f"{name}.html")
        getattr(optuna.visualization, f"plot_{name}")(study).write_html(written[-1])
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument(
        "--keep", type=Path, help="a directory for the sweep and the pages; default: one that is deleted"
    )
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        written = {"ours": ours, "plain": plain}[options.variant](options.keep)
        print(len(written), sum(path.stat().st_size for path in written))
        return
    with tempfile.TemporaryDirectory() as scratch:
        sweep_dir = write(options.keep or Path(scratch), options.trials)
        print("| | seconds | files | MB |\n|---|---|---|---|")
        for variant, name in (("ours", "fersweep report"), ("plain", f"optuna.visualization, {len(PLOTS)} plots")):
            start = time.perf_counter()
            command = [sys.executable, __file__, "--variant", variant, "--keep", str(sweep_dir)]
            finished = subprocess.run(command, check=True, capture_output=True, text=True)
            number, size = finished.stdout.split()
            print(f"| {name} | {time.perf_counter() - start:.1f} | {number} | {int(size) / 1e6:.1f} |")


if __name__ == "__main__":
    main()
