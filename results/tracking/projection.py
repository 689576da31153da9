"""A sweep's runs in MLflow as a projection of its journal: one parent run a sweep, one child run a trial.

Everything is idempotent. Runs are found again by their tags, epochs that MLflow holds are skipped (and carry the
journal's times, so that a store drops a point that it has), and a trial counts as recorded only when the state tag,
status and time of its end agree with the journal's, status and time being written last. Pictures come after that. A recorder may die at any point;
the next one continues. Runs that an earlier version wrote get the names of this version beside their own.
"""

from __future__ import annotations

import functools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.results.mlflow_store import connection, description, limits, run_fields, saved_view, trial_files
from fersweep.results.mlflow_store.runs import Recorded, Runs
from fersweep.results.record.journal import SweepRecord, TrialRecord, events_after
from fersweep.results.record.recorded_sweep import RecordedSweep
from fersweep.results.record.sweep_json import read_sweep_json
from fersweep.results.tracking.kept_checkpoints import write_kept
from fersweep.results.tracking.lag import PARENT
from fersweep.results.tracking.places import write_places

STATUS = {"running": "RUNNING", "finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
SWEEP_STATUS = {"finished": "FINISHED", "failed": "FAILED"}  # anything else: KILLED


class Projection:
    """A sweep's runs in MLflow. `write` raises whatever the store raises; after `forget` the next one goes on.

    `beat` is called after each step of a `write`, with the number of trials that are done, so that whoever waits for a
    long one sees its progress. What MLflow refuses for good stops nothing else: `refused` says what (a trial's name, or
    PARENT) and why, and it is not sent again.
    """

    def __init__(self, sweep_dir: Path, beat: Callable[[int], None] = lambda _: None):
        self.sweep_dir, self.beat = Path(sweep_dir), beat
        self.sweep = read_sweep_json(sweep_dir)
        self.metric, self.mode, self._order = self.sweep.metric, self.sweep.mode, self.sweep.order
        self._begin()
        self.runs = Runs(self.sweep)
        self.refused: dict[str, str] = {}
        self._found = self._broken = False

    @property
    def _recorded(self) -> RecordedSweep:
        return RecordedSweep(self.sweep_dir, self.sweep, self.record)

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
        for event, end in events_after(path, self.offset):
            self.offset = end
            self._apply(event)

    def write(self, closing: bool) -> None:
        """Bring MLflow level with what was read. `closing`: no driver goes on, so open runs are closed."""
        if not self._found or (closing and self._broken):  # a call that failed may have made a run all the same
            self.runs.find(self.metric)
            self._found = True
            self._broken &= not closing
        parent = self.runs.parent or self._create_parent()
        self._unless_refused(PARENT, lambda: self.runs.write_inputs(parent))
        if self.record.action == "started" and not closing:
            self.runs.set_status(parent, "RUNNING")
        self._unless_refused(PARENT, lambda: self._write_best(parent))
        for done, trial in enumerate(self.record.trials.values(), 1):
            self._unless_refused(trial.name, lambda trial=trial: self._write_trial(trial, closing))
            if closing and trial.name in self.refused:
                self._close_refused(trial)
            self.beat(done)
        if closing:
            write_kept(self.runs, self._recorded, lambda: self.beat(len(self.record.trials)))
            write_places(self.runs, self._recorded, lambda: self.beat(len(self.record.trials)))
            self._write_finalists()
            self._unless_refused(PARENT, lambda: self._write_totals(parent))
            self.runs.set_status(parent, SWEEP_STATUS.get(self.record.action or "", "KILLED"), int(self._time * 1000))

    def without_pictures(self) -> Iterator[TrialRecord]:
        """The trials that have ended, and whose runs lack the pictures of that end."""
        for trial in self.record.trials.values():
            recorded = self.runs.trials.get(trial.number)
            if recorded is None or trial.name in self.refused or not trial.epochs or trial.state == "running":
                continue
            if recorded.has_pictures is None:
                recorded.has_pictures = trial_files.LEARNING_CURVE in self._files(recorded)
            if not recorded.has_pictures and recorded.state == trial.state:
                yield trial

    def draw(self, trial: TrialRecord) -> None:
        """Draw a trial's pictures into its run. They take longer than all else of it, and nobody waits for them."""
        recorded = self.runs.trials[trial.number]

        def write() -> None:
            with tempfile.TemporaryDirectory() as directory:
                ranked_by, classes, predictions = (self.metric, self.mode), self.sweep.classes, self._predictions(trial)
                trial_files.write_pictures(trial, *ranked_by, predictions, classes, Path(directory))
                if self._files(recorded):  # else they were removed meanwhile, with the sweep or its home
                    connection.log_artifacts(self.runs.client, recorded.run_id, Path(directory))

        self._unless_refused(trial.name, write)
        recorded.has_pictures = True

    def _unless_refused(self, what: str, write: Callable[[], None]) -> None:
        """Write a part, unless MLflow has refused it for good before; where it does so now, that is kept."""
        if what in self.refused:
            return
        try:
            write()
        except Exception as error:
            reason = connection.refusal(error)
            if reason is None:
                raise
            self.refused[what] = reason

    def _close_refused(self, trial: TrialRecord) -> None:
        """A trial of which MLflow refuses a part shows as failed there, with the reason."""
        if (recorded := self.runs.trials.get(trial.number)) is not None:
            reason = limits.value(f"not recorded: {self.refused[trial.name]}", limits.TAG)
            self.runs.client.set_tag(recorded.run_id, run_fields.ENDED_TAG, reason)
            self.runs.set_status(recorded, "FAILED", int((trial.ended_at or self._time) * 1000))

    def forget(self) -> None:
        """After a call that failed: what MLflow holds is not known any more."""
        self._found, self._broken = False, True

    def _apply(self, event: dict[str, Any]) -> None:
        self._time = event["time"]
        if event["event"] == "session":
            self.session_pid = event.get("pid")
        trial = self.record.trials.get(event.get("trial", -1))
        known = trial.num_epochs if trial else 0
        self.record.apply(event)
        counts = trial is not None and self._order.is_feasible(trial)
        for row in trial.epochs[known:] if trial else []:
            self._num_epochs += 1
            if not counts or (trial and trial.repeat_of is not None):  # the best is the search's
                continue
            value, sign = row.get(self.metric, math.nan), 1 if self.mode == "max" else -1
            if math.isfinite(value) and (not self._best or sign * value > sign * self._best[-1][1]):
                self._best.append((self._num_epochs, value, event["time"]))

    def _create_parent(self) -> Recorded:
        created, tags = run_fields.milliseconds(self.sweep.created), run_fields.parent_tags(self.sweep)
        tags["mlflow.note.content"] = description.sweep_note(self.sweep)
        self.runs.parent = self.runs.create(created, tags, self.sweep.asked.name)
        self._write_view()
        return self.runs.parent

    def _write_view(self) -> None:
        """The sweep's view in MLflow's page: a tag of the experiment."""
        self.runs.client.set_experiment_tag(self.runs.experiment_id, *saved_view.saved_view(self.sweep))

    def _write_best(self, parent: Recorded) -> None:
        from mlflow.entities import Metric

        if not parent.has_params:
            self.runs.log(parent, [], run_fields.flat(self.sweep.asked.model_dump(mode="json")))
        name = run_fields.best_name(self.metric)
        step = self.runs.step(parent, name)
        fresh = [point for point in self._best if point[0] > step]
        if fresh:
            self.runs.log(parent, [[Metric(name, value, int(at * 1000), step)] for step, value, at in fresh])
            parent.step = fresh[-1][0]

    def _write_finalists(self) -> None:
        """What their repeats came to, as metrics of the finalists' own runs."""
        from mlflow.entities import Metric

        final, at = self._recorded.final, int(self._time * 1000)
        for finalist in final.finalists if final else []:
            if (recorded := self.runs.trials.get(finalist.point.number)) is not None:
                values, step = run_fields.finalist_metrics(finalist), len(finalist.values)
                groups = [[Metric(name, value, at, step) for name, value in values.items()]]
                write = functools.partial(self.runs.log, recorded, groups)
                self._unless_refused(finalist.point.name, write)

    def _write_totals(self, parent: Recorded) -> None:
        """Totals, tags, description and view of the sweep."""
        from mlflow.entities import Metric

        totals, at = run_fields.totals(self.record), int(self._time * 1000)
        totals |= run_fields.front_metrics(self._recorded.front())
        tags = run_fields.parent_tags(self.sweep) | {"mlflow.note.content": self._note(parent)}
        metrics = [[Metric(name, value, at, self._num_epochs)] for name, value in totals.items()]
        self.runs.log(parent, metrics, tags=tags)
        self._write_view()

    def _note(self, parent: Recorded) -> str:
        trials = {number: recorded.run_id for number, recorded in self.runs.trials.items()}
        place = saved_view.address(self.runs.experiment_id, self.sweep).removeprefix("/")
        links = description.Links(
            place, self.runs.experiment_id, parent.run_id, trials, has_report=description.REPORT in self._files(parent)
        )
        ranked = self._recorded.ranked()
        predictions = self._recorded.val_predictions(ranked[0]) if ranked else None
        return description.sweep_note(self.sweep, self.record, links, predictions)

    def _write_trial(self, trial: TrialRecord, closing: bool) -> None:
        """Bring one trial's run level: its new epochs and, when it has ended, its files and last its status.

        A trial that runs again after its end (more epochs, or once more) goes on in its run.
        """
        recorded, status = self.runs.trials.get(trial.number), STATUS[trial.state]
        ended_at = None if trial.ended_at is None else int(trial.ended_at * 1000)
        end = (trial.state, status, ended_at)
        if recorded and ended_at and (recorded.state, recorded.status, recorded.ended_at) == end:
            if recorded.is_old:
                self._write_epochs(trial, recorded)
            return
        recorded = recorded or self._create_trial(trial)
        self.runs.write_inputs(recorded)
        if trial.state == "running":
            self._set_state(recorded, trial)
            if closing or recorded.status != "RUNNING":  # interrupted, or it goes on
                ended = f"interrupted at epoch {trial.num_epochs}" if closing else "running"
                self.runs.client.set_tag(recorded.run_id, run_fields.ENDED_TAG, ended)
            self.runs.set_status(recorded, "KILLED" if closing else "RUNNING", int(self._time * 1000))
        self._write_epochs(trial, recorded)
        if trial.state != "running":
            self._write_artifacts(trial, recorded)
            self._set_state(recorded, trial)
            self.runs.set_status(recorded, status, ended_at)

    def _create_trial(self, trial: TrialRecord) -> Recorded:
        assert self.runs.parent is not None
        tags = run_fields.trial_tags(self.sweep, trial, self.runs.parent.run_id) | {"fersweep.state": "running"}
        name = run_fields.run_name(self.sweep, trial)
        recorded = self.runs.create(int(trial.sampled_at * 1000), tags, name)
        self.runs.trials[trial.number] = recorded
        return recorded

    def _write_epochs(self, trial: TrialRecord, recorded: Recorded) -> None:
        """Log the epochs that the run lacks, with params before the first and the end's tags after the last."""
        from mlflow.entities import Metric

        groups = [
            [Metric(name, value, int(at * 1000), epoch) for name, value in row.items()]
            for epoch, at, row in run_fields.epoch_metrics(
                trial, self.runs.step(recorded, self.metric), self.metric, self.sweep.perturbed
            )
        ]
        best = self._recorded.best(trial)
        if (groups or recorded.is_old) and best is not None:  # step 0: MLflow's page draws such a metric as a bar a run
            at, summary = (
                int(trial.reported_at[-1] * 1000),
                run_fields.best_metrics(best, self.metric, self.sweep.own_metrics),
            )
            summary |= run_fields.cost_metrics(trial, best)
            groups.append([Metric(name, value, at, 0) for name, value in summary.items()])
        tags = {} if trial.state == "running" else run_fields.end_tags(self.sweep, trial)
        if recorded.is_old and self.runs.parent:
            tags |= run_fields.trial_tags(self.sweep, trial, self.runs.parent.run_id)
        if groups or tags or not recorded.has_params:
            params = run_fields.trial_params(self.sweep, trial)
            self.runs.log(recorded, groups, params, tags)
            recorded.step, recorded.is_old = trial.num_epochs, False

    def _write_artifacts(self, trial: TrialRecord, recorded: Recorded) -> None:
        """A trial's files, without its pictures: `draw`."""
        predictions = self._predictions(trial)
        with tempfile.TemporaryDirectory() as directory:
            trial_files.write_history(trial, Path(directory))
            if predictions is not None:
                trial_files.write_val_report(*predictions, self.sweep.classes, Path(directory))
            connection.log_artifacts(self.runs.client, recorded.run_id, Path(directory))
        if trial.reopened:  # those of an earlier end
            for name in self._files(recorded) & {trial_files.LEARNING_CURVE, trial_files.CONFUSION}:
                connection.delete_artifacts(self.runs.client, recorded.run_id, name)
        recorded.has_pictures = False

    def _files(self, recorded: Recorded) -> set[str]:
        files = self.runs.client.list_artifacts(recorded.run_id)  # pyright: ignore[reportUnknownMemberType]
        return {file.path for file in files}

    def _predictions(self, trial: TrialRecord) -> tuple[np.ndarray, np.ndarray] | None:
        judged = trial.state == "finished" or trial.reopened  # what was there before is replaced
        return self._recorded.val_predictions(trial) if judged else None

    def _set_state(self, recorded: Recorded, trial: TrialRecord) -> None:
        """What `_write_epochs` wrote with the last epochs, and what an earlier end left behind."""
        client = self.runs.client
        if recorded.state != trial.state and trial.state == "running":
            client.set_tag(recorded.run_id, "fersweep.state", trial.state)
        if recorded.reason and not trial.reason:
            client.delete_tag(recorded.run_id, "fersweep.reason")
        recorded.state, recorded.reason = trial.state, trial.reason
