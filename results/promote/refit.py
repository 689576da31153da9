"""Train a trial's hparams once more on train and val together, with several seeds: what `promote --refit N` promotes.

    checkpoints = refit(sweep_dir, trial, 5)      # five directories, each with its checkpoint

Each is trained for as many epochs as the trial's best one, in a process of its own on this machine, and kept below
`refit/` in the sweep's directory: an interrupted refit goes on with the seeds that it lacks. val then says nothing any
more (its faces are learned), so nothing is chosen by it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fersweep import trainables
from fersweep.common.files import lock, new_directory
from fersweep.common.processes import run_module
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.results.distil.answers import taught
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.ranking.lineage import best_schedule
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.sweep_json import SweepJson, read_sweep_json


def refit(sweep_dir: Path, trial: TrialRecord, num: int, tell: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Checkpoints of `num` models of the trial's hparams, trained on train and val. `tell` gets a line a model.

    Raises RuntimeError with the last line of a training that failed.
    """
    epochs, checkpoints = best_epoch(read_sweep_json(sweep_dir), trial), planned(sweep_dir, trial, num)
    checkpoints[0].parent.mkdir(exist_ok=True)
    with lock(checkpoints[0].parent / "refit.lock"):  # another promotion may train the same
        for unfinished in checkpoints[0].parent.glob(".*-seed-*"):  # of a refit that was killed
            shutil.rmtree(unfinished)
        for index, directory in enumerate(checkpoints):
            if directory.is_dir():
                continue
            tell(f"refit {index + 1} of {num}: trial {trial.name}'s hparams on train and val, {epochs} epochs")
            with new_directory(directory) as unfinished:
                arguments = Path(sweep_dir).resolve(), trial.number, index, unfinished
                run_module(__name__, *arguments, otherwise=f"refit of trial {trial.name} failed")
    return checkpoints


def planned(sweep_dir: Path, trial: TrialRecord, num: int) -> list[Path]:
    """Where `refit` writes the checkpoints."""
    epochs, below = best_epoch(read_sweep_json(sweep_dir), trial), Path(sweep_dir).resolve() / "refit"
    return [below / f"{trial.name}-epochs-{epochs}-seed-{index}" for index in range(num)]


def best_epoch(sweep: SweepJson, trial: TrialRecord) -> int:
    """The epoch whose checkpoint is the trial's best."""
    best = trial.best(sweep.metric, sweep.mode)
    assert best is not None
    return int(best["epoch"])


def _main(arguments: Sequence[str]) -> None:
    sweep_dir, number, index, out = Path(arguments[0]), int(arguments[1]), int(arguments[2]), Path(arguments[3])
    recorded = load_sweep(sweep_dir)
    sweep, trial = recorded.sweep, recorded.record.trials[number]
    seed = int(np.random.default_rng([sweep.asked.search.seed, number, 1 + index]).integers(2**31))
    arrays = taught(node_arrays.load(sweep.task(), with_val=True), sweep, sweep_dir)
    trainables.expect(sweep.asked.trainable, sweep.fetched)
    name, steps = sweep.asked.trainable, best_schedule(sweep, recorded.record.trials, trial)
    model = trainables.build(name, steps[0].hparams, arrays, seed)
    model.fit(steps[0].last)
    for step in steps[1:]:  # PBT's: the hparams change as they did
        with tempfile.TemporaryDirectory(prefix="fersweep-") as checkpoint:
            model.save(Path(checkpoint))
            model = trainables.build(name, step.hparams, arrays, seed)
            model.load(Path(checkpoint))
        model.fit(step.last - step.first + 1)
    model.save(out)


if __name__ == "__main__":
    _main(sys.argv[1:])
