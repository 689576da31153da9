"""A sweep's runs in an MLflow store: found again by their tags, and written to in few calls.

`Recorded` is what is known of a run without a call. Everything here may be written twice: a store keeps one of two equal
points, and a tag or a status that is set again stays the same.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fersweep.results.mlflow_store import connection, experiments, run_fields
from fersweep.results.record.sweep_json import SweepJson

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient


CHECKPOINT_TAG = "fersweep.checkpoint"
METRICS_PER_CALL = 1000  # MLflow's limit


@dataclass
class Recorded:
    """What MLflow holds of a run; `step` is the last epoch logged, None if it is not known yet."""

    run_id: str
    status: str = "RUNNING"
    state: str = "running"
    step: int | None = 0
    has_params: bool = False
    checkpoint: str | None = None  # its epoch
    ended_at: int | None = None  # milliseconds
    reason: str | None = None
    has_inputs: bool = False
    places: dict[str, str] = field(default_factory=dict[str, str])  # those of run_fields.place_tags that it has
    is_old: bool = False  # an earlier version of fersweep wrote it, under other names
    has_pictures: bool | None = False  # of its last end; None: not known yet


def all_runs(client: MlflowClient, experiment_id: str, query: str) -> Iterator[Run]:
    """The runs of an experiment that `query` asks for, deleted ones, too."""
    from mlflow.entities import ViewType

    token, seen = None, set[str | None]()
    while token not in seen:  # a server that gives the same page again and again is none of MLflow's
        seen.add(token)
        page = client.search_runs([experiment_id], query, ViewType.ALL, 1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


class Runs:
    """The runs of one sweep: `parent`, and `trials` by number. Raises whatever the store raises."""

    client: MlflowClient
    experiment_id: str

    def __init__(self, sweep: SweepJson):
        self._sweep = sweep
        self.parent: Recorded | None = None
        self.trials: dict[int, Recorded] = {}

    def find(self, metric: str) -> None:
        """Ask the store for all runs of the sweep, which is ranked by `metric`."""
        self.client, self.experiment_id = connection.open_store(self._sweep)
        experiments.mark(self.client, self.experiment_id, self._sweep.sweep_id, connection.sweep_store(self._sweep)[1])
        self.parent, self.trials = None, {}
        deleted: list[Run] = []
        query = f"tags.`fersweep.sweep_id` = '{self._sweep.sweep_id}'"
        for run in all_runs(self.client, self.experiment_id, query):
            if run.info.lifecycle_stage == "active":
                self._add(run, metric)
            else:
                deleted.append(run)
        self._restore(deleted, metric)

    def _restore(self, deleted: list[Run], metric: str) -> None:
        """Restore the runs that were deleted in MLflow, unless another one is in their place; stderr hears of it."""
        num_restored = 0
        for run in sorted(deleted, key=lambda run: -len(run.data.params) - len(run.data.metrics)):  # the fullest first
            kind, number = run.data.tags["fersweep.kind"], run.data.tags.get("fersweep.trial")
            if (kind == "sweep" and self.parent is None) or (kind == "trial" and int(number or 0) not in self.trials):
                self.client.restore_run(run.info.run_id)
                self._add(run, metric)
                num_restored += 1
        if num_restored:
            runs = "a run that was" if num_restored == 1 else f"{num_restored} runs that were"
            print(f"{self._sweep.name}: {runs} deleted in MLflow: restored", file=sys.stderr, flush=True)

    def _add(self, run: Run, metric: str) -> None:
        tags, info = run.data.tags, run.info
        recorded = Recorded(
            info.run_id,
            info.status,
            tags.get("fersweep.state", "running"),
            None,
            bool(run.data.params),
            tags.get(CHECKPOINT_TAG),
            info.end_time,
            tags.get("fersweep.reason"),
            bool(run.inputs and run.inputs.dataset_inputs),
            {name: tags[name] for name in (run_fields.FRONT_TAG, run_fields.INFEASIBLE_TAG) if name in tags},
            tags.get(run_fields.FORMAT_TAG) != run_fields.FORMAT,
            None,
        )
        if tags["fersweep.kind"] == "sweep":
            self.parent = self._fuller(self.parent, recorded, run_fields.best_name(metric))
        elif tags["fersweep.kind"] == "trial":
            number = int(tags["fersweep.trial"])
            self.trials[number] = self._fuller(self.trials.get(number), recorded, metric)

    def _fuller(self, first: Recorded | None, second: Recorded, metric: str) -> Recorded:
        """The run to go on with. There are two if a call that was given up made one, and the next call another; the one
        that nothing was written to is deleted.
        """
        if first is None:
            return second
        emptier, fuller = sorted((first, second), key=lambda run: (run.has_params, self.step(run, metric)))
        if not emptier.has_params and not self.step(emptier, metric):
            self.client.delete_run(emptier.run_id)
        return fuller

    def step(self, recorded: Recorded, metric: str) -> int:
        """The last step of `metric` that the run holds; 0 if none."""
        if recorded.step is None:
            points = self.client.get_metric_history(recorded.run_id, metric)
            recorded.step = max((point.step for point in points), default=0)
        return recorded.step

    def create(self, start: int, tags: dict[str, str], name: str) -> Recorded:
        """A new run that began at `start` (ms)."""
        return Recorded(self.client.create_run(self.experiment_id, start, run_fields.tags(tags), name).info.run_id)

    def write_inputs(self, recorded: Recorded) -> None:
        """Name the dataset that the run learned from."""
        from mlflow.exceptions import MlflowException

        if recorded.has_inputs:
            return
        inputs = [run_fields.dataset_input(self._sweep)]
        try:
            self.client.log_inputs(recorded.run_id, inputs)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            self.client.log_inputs(recorded.run_id, inputs)  # another recorder named the same dataset at this moment
        recorded.has_inputs = True

    def log(
        self,
        recorded: Recorded,
        groups: Sequence[Sequence[Metric]],
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log in as few calls as MLflow allows; a group (an epoch) is never split between two calls, tags go last."""
        from mlflow.entities import RunTag

        batch: list[Metric] = []
        fresh_params = [] if recorded.has_params or not params else run_fields.params(params)
        for group in groups:
            if len(batch) + len(group) > METRICS_PER_CALL:
                self.client.log_batch(recorded.run_id, batch)
                batch = []
            batch += group
        fresh_tags = [RunTag(*tag) for tag in run_fields.tags(tags or {}).items()]
        self.client.log_batch(recorded.run_id, batch, fresh_params, fresh_tags)
        recorded.has_params |= params is not None

    def set_status(self, recorded: Recorded, status: str, at: int | None = None) -> None:
        """`at` (ms) is the time of an end; MLflow keeps that of the last one while a run runs again."""
        if recorded.status == status and (status == "RUNNING" or recorded.ended_at == at):
            return
        if status == "RUNNING":
            self.client.update_run(recorded.run_id, status)
        else:
            self.client.set_terminated(recorded.run_id, status, at)
            recorded.ended_at = at
        recorded.status = status
