"""The checkpoints that a sweep keeps, as artifacts of its trials' runs in MLflow."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fersweep.results.mlflow_store import connection
from fersweep.results.mlflow_store.runs import CHECKPOINT_TAG, Recorded, Runs
from fersweep.results.record.checkpoints import Damaged, Foreign
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.recorded_sweep import RecordedSweep


def write_kept(runs: Runs, sweep: RecordedSweep, beat: Callable[[], None]) -> None:
    """Upload the checkpoints that the sweep keeps, and delete those that it no longer keeps. `beat`: after each upload."""
    kept_numbers = {trial.number for trial in sweep.kept_trials()}
    for number, recorded in runs.trials.items():
        trial = sweep.record.trials.get(number)
        best = sweep.best(trial) if trial and number in kept_numbers else None
        wanted = str(int(best["epoch"])) if best else None
        if recorded.checkpoint not in (None, wanted):
            connection.delete_artifacts(runs.client, recorded.run_id, "checkpoint")
            runs.client.delete_tag(recorded.run_id, CHECKPOINT_TAG)
            recorded.checkpoint = None
        if trial and wanted and recorded.checkpoint is None and _write(runs, sweep, trial, recorded, wanted):
            beat()


def _write(runs: Runs, sweep: RecordedSweep, trial: TrialRecord, recorded: Recorded, epoch: str) -> bool:
    """Upload a trial's best checkpoint, of `epoch`, if there is one that is whole → whether there is."""
    try:
        directory = sweep.best_checkpoint(trial)
    except (Damaged, Foreign) as error:
        print(error, file=sys.stderr)
        return False
    if directory is None:
        return False
    connection.log_artifacts(runs.client, recorded.run_id, directory, "checkpoint")
    runs.client.set_tag(recorded.run_id, CHECKPOINT_TAG, epoch)  # pyright: ignore[reportUnknownMemberType]
    recorded.checkpoint = epoch
    return True
