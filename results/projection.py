"""A sweep's runs in MLflow as a projection of its journal: one parent run a sweep, one child run a trial.

Everything is idempotent. Runs are found again by their tags, epochs that MLflow holds are skipped (and carry the
journal's times, so that a store drops a point that it has), and a trial counts as recorded only when its state tag
and its status agree, the status being written last. A recorder may die anywhere; the next one goes on.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results import artifacts, describe_run, store
from results.checkpoints import Damaged
from results.journal import SweepRecord, TrialRecord
from results.sweeps import best_checkpoint, kept_trials, load_sweep, objective, val_predictions

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run, RunTag

CHECKPOINT_TAG = "fersweep.checkpoint"
METRICS_PER_CALL = 1000  # MLflow's limit
STATUS = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
}
SWEEP_STATUS = {"finished": "FINISHED", "failed": "FAILED"}  # anything else: KILLED


@dataclass
class Recorded:
    """What MLflow holds of a run; `step` is the last epoch logged."""

    run_id: str
    status: str = "RUNNING"
    state: str = "running"
    step: int = 0
    has_params: bool = False
    checkpoint: str | None = None  # its epoch


class Projection:
    """A sweep's runs in MLflow. Raises whatever the store raises; a fresh one then goes on where this one got to."""

    def __init__(self, sweep_dir: Path):
        self.sweep_dir = Path(sweep_dir)
        self.sweep, _ = load_sweep(sweep_dir)
        self.metric, self.mode = objective(self.sweep)
        self.record = SweepRecord()
        self.session_pid: int | None = None
        self._offset = 0
        self._time = time.time()
        self._num_epochs = 0
        self._best: list[tuple[int, float, float]] = []  # at each improvement: epochs of the sweep, value, time

        uri, experiment = store.sweep_store(self.sweep)
        self.client = store.connect(uri)
        self.experiment_id = store.experiment_id(self.client, experiment, Path(self.sweep["home"]))
        self.parent: Recorded | None = None
        self.trials: dict[int, Recorded] = {}
        self._find_runs()

    def read(self) -> None:
        """Fold in what the journal says that was not read before."""
        path = self.sweep_dir / "journal.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # still being written
                    return
                self._offset += len(line)
                self._apply(json.loads(line))

    def write(self, closing: bool) -> None:
        """Bring MLflow level with what was read. `closing`: no driver goes on, so runs that are open are closed."""
        parent = self.parent or self._create_parent()
        if self.record.action == "started" and not closing:
            self._set_status(parent, "RUNNING")
        self._write_best(parent)
        for trial in self.record.trials.values():
            self._write_trial(trial, closing)
        if closing:
            self._write_checkpoints()
            self._close(parent)

    def _apply(self, event: dict[str, Any]) -> None:
        self._time = event["time"]
        if event["event"] == "session":
            self.session_pid = event["pid"]
        trial = self.record.trials.get(event.get("trial", -1))
        known = trial.num_epochs if trial else 0
        self.record.apply(event)
        for row in trial.epochs[known:] if trial else []:
            self._num_epochs += 1
            value, sign = (
                row.get(self.metric, math.nan),
                1 if self.mode == "max" else -1,
            )
            if math.isfinite(value) and (not self._best or sign * value > sign * self._best[-1][1]):
                self._best.append((self._num_epochs, value, event["time"]))

    def _find_runs(self) -> None:
        for run in self._search():
            tags, info = run.data.tags, run.info
            found = Recorded(
                info.run_id,
                info.status,
                tags.get("fersweep.state", "running"),
                0,
                bool(run.data.params),
                tags.get(CHECKPOINT_TAG),
            )
            if tags["fersweep.kind"] == "sweep":
                self.parent = found
                found.step = self._last_step(found.run_id, f"best_{self.metric}")
            elif tags["fersweep.kind"] == "trial":
                self.trials[int(tags["fersweep.trial"])] = found
                if found.state == "running" or found.status != STATUS[found.state]:
                    found.step = self._last_step(found.run_id, self.metric)

    def _search(self) -> Iterator[Run]:
        wanted, token = f"tags.`fersweep.sweep_id` = '{self.sweep['sweep_id']}'", None
        while True:
            page = self.client.search_runs([self.experiment_id], wanted, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _last_step(self, run_id: str, metric: str) -> int:
        return max(
            (point.step for point in self.client.get_metric_history(run_id, metric)),
            default=0,
        )

    def _create_parent(self) -> Recorded:
        asked, created = (
            self.sweep["sweep"],
            describe_run.milliseconds(self.sweep["created"]),
        )
        run = self.client.create_run(
            self.experiment_id,
            created,
            describe_run.parent_tags(self.sweep),
            asked["name"],
        )
        self.client.log_inputs(run.info.run_id, [describe_run.dataset_input(self.sweep)])
        self.parent = Recorded(run.info.run_id)
        return self.parent

    def _write_best(self, parent: Recorded) -> None:
        from mlflow.entities import Metric

        if not parent.has_params:
            self._log(parent, [], describe_run.flat(self.sweep["sweep"]))
        fresh = [point for point in self._best if point[0] > parent.step]
        if fresh:
            name = f"best_{self.metric}"
            self._log(
                parent,
                [[Metric(name, value, int(at * 1000), step)] for step, value, at in fresh],
            )
            parent.step = fresh[-1][0]

    def _close(self, parent: Recorded) -> None:
        from mlflow.entities import Metric

        totals = {
            "total_epochs": self._num_epochs,
            "num_trials": len(self.record.trials),
        }
        totals |= {f"num_{state}": number for state, number in self.record.count().items() if state != "running"}
        at = int(self._time * 1000)
        self._log(
            parent,
            [[Metric(name, value, at, self._num_epochs)] for name, value in totals.items()],
        )
        self._set_status(parent, SWEEP_STATUS.get(self.record.action or "", "KILLED"), at)

    def _write_trial(self, trial: TrialRecord, closing: bool) -> None:
        """Bring one trial's run level: its new epochs and, when it has ended, its files and last its status."""
        recorded, status = self.trials.get(trial.number), STATUS[trial.state]
        if recorded and trial.state != "running" and (recorded.state, recorded.status) == (trial.state, status):
            return
        recorded = recorded or self._create_trial(trial)
        if trial.state == "running":
            self._set_status(recorded, "KILLED" if closing else "RUNNING", int(self._time * 1000))
        self._write_epochs(trial, recorded)
        if trial.state != "running":
            self._write_artifacts(trial, recorded)
            recorded.state = trial.state
            self._set_status(recorded, status, int((trial.ended_at or self._time) * 1000))

    def _create_trial(self, trial: TrialRecord) -> Recorded:
        assert self.parent is not None
        tags = describe_run.trial_tags(self.sweep, trial, self.parent.run_id)
        run = self.client.create_run(self.experiment_id, int(trial.sampled_at * 1000), tags, trial.name)
        self.client.log_inputs(run.info.run_id, [describe_run.dataset_input(self.sweep)])
        self.trials[trial.number] = Recorded(run.info.run_id)
        return self.trials[trial.number]

    def _write_epochs(self, trial: TrialRecord, recorded: Recorded) -> None:
        """Log the epochs that the run lacks, with params before the first and the end's tags after the last."""
        from mlflow.entities import Metric, RunTag

        groups = [
            [Metric(name, value, int(at * 1000), int(row["epoch"])) for name, value in row.items() if name != "epoch"]
            for row, at in zip(
                trial.epochs[recorded.step :],
                trial.reported_at[recorded.step :],
                strict=True,
            )
        ]
        best = trial.best(self.metric, self.mode)
        if groups and best is not None:
            at, summary = (
                int(trial.reported_at[-1] * 1000),
                describe_run.best_metrics(best, self.metric),
            )
            groups.append([Metric(name, value, at, trial.num_epochs) for name, value in summary.items()])
        tags = [RunTag(*tag) for tag in describe_run.end_tags(trial).items()] if trial.state != "running" else []
        if groups or tags or not recorded.has_params:
            self._log(recorded, groups, trial.hparams, tags)
            recorded.step = trial.num_epochs

    def _write_artifacts(self, trial: TrialRecord, recorded: Recorded) -> None:
        predictions = val_predictions(self.sweep_dir, self.sweep, trial) if trial.state == "finished" else None
        with tempfile.TemporaryDirectory() as directory:
            artifacts.write_history(trial, self.metric, self.mode, Path(directory))
            if predictions is not None:
                artifacts.write_val_report(*predictions, self.sweep["classes"], Path(directory))
            self.client.log_artifacts(recorded.run_id, directory)

    def _write_checkpoints(self) -> None:
        """The checkpoints that the sweep keeps as artifacts of their trials; those that it no longer keeps go."""
        kept = {trial.number for trial in kept_trials(self.sweep, self.record)}
        for number, recorded in self.trials.items():
            trial = self.record.trials.get(number)
            best = trial.best(self.metric, self.mode) if trial and number in kept else None
            wanted = str(int(best["epoch"])) if best else None
            if recorded.checkpoint not in (None, wanted):
                store.delete_artifacts(self.client, recorded.run_id, "checkpoint")
                self.client.delete_tag(recorded.run_id, CHECKPOINT_TAG)
                recorded.checkpoint = None
            if trial and wanted and recorded.checkpoint is None:
                self._write_checkpoint(trial, recorded, wanted)

    def _write_checkpoint(self, trial: TrialRecord, recorded: Recorded, epoch: str) -> None:
        try:
            directory = best_checkpoint(self.sweep_dir, self.sweep, trial)
        except Damaged as error:
            print(error, file=sys.stderr)
            return
        if directory is not None:
            self.client.log_artifacts(recorded.run_id, str(directory), "checkpoint")
            self.client.set_tag(recorded.run_id, CHECKPOINT_TAG, epoch)
            recorded.checkpoint = epoch

    def _log(
        self,
        recorded: Recorded,
        groups: Sequence[Sequence[Metric]],
        params: dict[str, Any] | None = None,
        tags: Sequence[RunTag] = (),
    ) -> None:
        """Log in as few calls as MLflow allows; a group (an epoch) is never split between two, the tags go last."""
        batch: list[Metric] = []
        fresh_params = [] if recorded.has_params or not params else describe_run.params(params)
        for group in groups:
            if len(batch) + len(group) > METRICS_PER_CALL:
                self.client.log_batch(recorded.run_id, batch)
                batch = []
            batch += group
        self.client.log_batch(recorded.run_id, batch, fresh_params, tags)
        recorded.has_params |= params is not None

    def _set_status(self, recorded: Recorded, status: str, at: int | None = None) -> None:
        if recorded.status == status:
            return
        if status == "RUNNING":
            self.client.update_run(recorded.run_id, status)
        else:
            self.client.set_terminated(recorded.run_id, status, at)
        recorded.status = status
