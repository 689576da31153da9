"""A sweep's runs in MLflow as a projection of its journal: one parent run a sweep, one child run a trial.

Everything is idempotent. Runs are found again by their tags, epochs that MLflow holds are skipped (and carry the
journal's times, so that a store drops a point that it has), and a trial counts as recorded only when the state tag,
status and time of its end agree with the journal's, status and time being written last. A recorder may die anywhere;
the next one goes on.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results import artifacts, describe_run, store
from results.checkpoints import Damaged
from results.journal import SweepRecord, TrialRecord
from results.sweeps import best_checkpoint, kept_trials, load_sweep, objective, val_predictions

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run, RunTag
    from mlflow.tracking import MlflowClient

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
    """What MLflow holds of a run; `step` is the last epoch logged, None if that was not asked yet."""

    run_id: str
    status: str = "RUNNING"
    state: str = "running"
    step: int | None = 0
    has_params: bool = False
    checkpoint: str | None = None  # its epoch
    ended_at: int | None = None  # milliseconds
    reason: str | None = None
    has_inputs: bool = False


class Projection:
    """A sweep's runs in MLflow. `write` raises whatever the store raises; after `forget` the next one goes on.

    `beat` is called after each step of a `write`, so that somebody who waits for a long one sees that it gets on.
    """

    client: MlflowClient
    experiment_id: str

    def __init__(self, sweep_dir: Path, beat: Callable[[], None] = lambda: None):
        self.sweep_dir, self.beat = Path(sweep_dir), beat
        self.sweep, _ = load_sweep(sweep_dir)
        self.metric, self.mode = objective(self.sweep)
        self._begin()
        self.parent: Recorded | None = None
        self.trials: dict[int, Recorded] = {}
        self._found = self._broken = False

    def _begin(self) -> None:
        """Before the first event."""
        self.record = SweepRecord()
        self.session_pid: int | None = None
        self.offset = 0  # bytes of the journal that were read
        self._time = time.time()
        self._num_epochs = 0
        self._best: list[tuple[int, float, float]] = []  # at each improvement: epochs of the sweep, value, time

    def read(self) -> None:
        """Fold in what the journal says that was not read before."""
        path = self.sweep_dir / "journal.jsonl"
        if not path.exists():
            return
        if path.stat().st_size < self.offset:  # an event whose write failed was taken back
            self._begin()
        with path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):  # still being written
                    return
                self.offset += len(line)
                self._apply(json.loads(line))

    def write(self, closing: bool) -> None:
        """Bring MLflow level with what was read. `closing`: no driver goes on, so runs that are open are closed."""
        if not self._found or (closing and self._broken):  # a call that broke off may have made a run all the same
            self._find_runs()
            self._broken &= not closing
        parent = self.parent or self._create_parent()
        self._write_inputs(parent)
        if self.record.action == "started" and not closing:
            self._set_status(parent, "RUNNING")
        self._write_best(parent)
        for trial in self.record.trials.values():
            self._write_trial(trial, closing)
            self.beat()
        if closing:
            self._write_checkpoints()
            self._close(parent)

    def forget(self) -> None:
        """After a call that failed: what MLflow holds is not known any more."""
        self._found, self._broken = False, True

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
        self.client, self.experiment_id = store.open_store(self.sweep)
        self.parent, self.trials = None, {}
        for run in self._search():
            tags, info = run.data.tags, run.info
            found = Recorded(
                info.run_id,
                info.status,
                tags.get("fersweep.state", "running"),
                None,
                bool(run.data.params),
                tags.get(CHECKPOINT_TAG),
                info.end_time,
                tags.get("fersweep.reason"),
                bool(run.inputs and run.inputs.dataset_inputs),
            )
            if tags["fersweep.kind"] == "sweep":
                self.parent = self._one_of(self.parent, found, f"best_{self.metric}")
            elif tags["fersweep.kind"] == "trial":
                number = int(tags["fersweep.trial"])
                self.trials[number] = self._one_of(self.trials.get(number), found, self.metric)
        self._found = True

    def _one_of(self, known: Recorded | None, found: Recorded, metric: str) -> Recorded:
        """The run to go on with. There are two where one was made by a call that was given up, and again by the next;
        the one that nothing was written to is deleted.
        """
        if known is None:
            return found
        empty, kept = sorted((known, found), key=lambda run: (run.has_params, self._step(run, metric)))
        if not empty.has_params and not self._step(empty, metric):
            self.client.delete_run(empty.run_id)
        return kept

    def _search(self) -> Iterator[Run]:
        wanted, token = f"tags.`fersweep.sweep_id` = '{self.sweep['sweep_id']}'", None
        while True:
            page = self.client.search_runs([self.experiment_id], wanted, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _step(self, recorded: Recorded, metric: str) -> int:
        if recorded.step is None:
            points = self.client.get_metric_history(recorded.run_id, metric)
            recorded.step = max((point.step for point in points), default=0)
        return recorded.step

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
        self.parent = Recorded(run.info.run_id)
        return self.parent

    def _write_best(self, parent: Recorded) -> None:
        from mlflow.entities import Metric

        if not parent.has_params:
            self._log(parent, [], describe_run.flat(self.sweep["sweep"]))
        name = f"best_{self.metric}"
        step = self._step(parent, name)
        fresh = [point for point in self._best if point[0] > step]
        if fresh:
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
        """Bring one trial's run level: its new epochs and, when it has ended, its files and last its status.

        A trial that runs again after its end (more epochs, or once more) goes on in its run.
        """
        recorded, status = self.trials.get(trial.number), STATUS[trial.state]
        ended_at = None if trial.ended_at is None else int(trial.ended_at * 1000)
        end = (trial.state, status, ended_at)
        if recorded and ended_at and (recorded.state, recorded.status, recorded.ended_at) == end:
            return
        recorded = recorded or self._create_trial(trial)
        self._write_inputs(recorded)
        if trial.state == "running":
            self._set_state(recorded, trial)
            self._set_status(recorded, "KILLED" if closing else "RUNNING", int(self._time * 1000))
        self._write_epochs(trial, recorded)
        if trial.state != "running":
            self._write_artifacts(trial, recorded)
            self._set_state(recorded, trial)
            self._set_status(recorded, status, ended_at)

    def _create_trial(self, trial: TrialRecord) -> Recorded:
        assert self.parent is not None
        tags = describe_run.trial_tags(self.sweep, trial, self.parent.run_id)
        run = self.client.create_run(self.experiment_id, int(trial.sampled_at * 1000), tags, trial.name)
        self.trials[trial.number] = Recorded(run.info.run_id)
        return self.trials[trial.number]

    def _write_inputs(self, recorded: Recorded) -> None:
        from mlflow.exceptions import MlflowException

        if recorded.has_inputs:
            return
        inputs = [describe_run.dataset_input(self.sweep)]
        try:
            self.client.log_inputs(recorded.run_id, inputs)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            self.client.log_inputs(recorded.run_id, inputs)  # another recorder was telling of the same dataset
        recorded.has_inputs = True

    def _write_epochs(self, trial: TrialRecord, recorded: Recorded) -> None:
        """Log the epochs that the run lacks, with params before the first and the end's tags after the last."""
        from mlflow.entities import Metric, RunTag

        step = self._step(recorded, self.metric)
        groups = [
            [Metric(name, value, int(at * 1000), int(row["epoch"])) for name, value in row.items() if name != "epoch"]
            for row, at in zip(
                trial.epochs[step:],
                trial.reported_at[step:],
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
        judged = trial.state == "finished" or trial.reopened  # what stood there before is replaced
        predictions = val_predictions(self.sweep_dir, self.sweep, trial) if judged else None
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
            self.beat()

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

    def _set_state(self, recorded: Recorded, trial: TrialRecord) -> None:
        """What `_write_epochs` told with the epochs of an end, and what an end before it left behind."""
        if recorded.state != trial.state and trial.state == "running":
            self.client.set_tag(recorded.run_id, "fersweep.state", trial.state)
        if recorded.reason and not trial.reason:
            self.client.delete_tag(recorded.run_id, "fersweep.reason")
        recorded.state, recorded.reason = trial.state, trial.reason

    def _set_status(self, recorded: Recorded, status: str, at: int | None = None) -> None:
        """`at` (ms) is the time of an end; MLflow keeps that of the last one while a run runs again."""
        if recorded.status == status and (status == "RUNNING" or recorded.ended_at == at):
            return
        if status == "RUNNING":
            self.client.update_run(recorded.run_id, status)
        else:
            self.client.set_terminated(recorded.run_id, status, at)
            recorded.ended_at = at
        recorded.status = status
