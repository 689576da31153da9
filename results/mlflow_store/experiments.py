"""The experiment in MLflow that a sweep is recorded in: made, found again, and restored where it was deleted."""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.text import printable
from fersweep.results.mlflow_store.addresses import artifacts_uri

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

KIND = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's page then shows model training, not GenAI
OF_SWEEP = "fersweep.sweep."
"""Tag of an experiment, followed by the id of a sweep that is recorded there; its value is the name that the sweep gives
the experiment, which may have another one since: MLflow's page renames."""


def experiment_id(client: MlflowClient, name: str, home: Path, sweep_id: str | None = None) -> str:
    """Id of the experiment `name`, or of the one that the sweep `sweep_id` found under this name before it was renamed.

    Created if need be, and restored if it was deleted, of which stderr hears. Unless a server has a place for its
    artifacts, that is `home`.
    """
    from mlflow.exceptions import MlflowException

    known = find_experiment(client, name, sweep_id)
    if known is not None:
        return _restored(client, known)
    served = client.tracking_uri.startswith(("http:", "https:"))
    location = None if served else artifacts_uri(home)
    try:
        return client.create_experiment(name, artifact_location=location, tags=KIND)
    except MlflowException:  # another recorder was first
        known = client.get_experiment_by_name(name)
        if known is None:
            raise
        return known.experiment_id


def find_experiment(client: MlflowClient, name: str, sweep_id: str | None = None) -> Experiment | None:
    """The experiment `name`, or the one that was marked for `sweep_id` under this name; it may be deleted. None: neither."""
    return _of_sweep(client, name, sweep_id) or client.get_experiment_by_name(name)


def mark(client: MlflowClient, experiment: str, sweep_id: str, name: str) -> None:
    """Let `experiment_id` find the experiment for this sweep, whatever it is called later."""
    if client.get_experiment(experiment).tags.get(OF_SWEEP + sweep_id) != name:
        client.set_experiment_tag(experiment, OF_SWEEP + sweep_id, name)


def _of_sweep(client: MlflowClient, name: str, sweep_id: str | None) -> Experiment | None:
    """The experiment that `mark` marked for this sweep and this name; one that is not deleted if there is any."""
    from mlflow.entities import ViewType

    if sweep_id is None:
        return None
    tag = OF_SWEEP + sweep_id
    marked = client.search_experiments(ViewType.ALL, filter_string=f"tags.`{tag}` LIKE '%'")
    marked = [experiment for experiment in marked if experiment.tags.get(tag) == name]
    return min(marked, key=lambda experiment: experiment.lifecycle_stage != "active", default=None)


def _restored(client: MlflowClient, experiment: Experiment) -> str:
    from mlflow.exceptions import MlflowException

    if experiment.lifecycle_stage != "active":
        with contextlib.suppress(MlflowException):  # another process was first; else the next call says what is wrong
            client.restore_experiment(experiment.experiment_id)
            print(
                f"the experiment {printable(experiment.name)!r} was deleted in MLflow: it is restored, with its runs",
                file=sys.stderr,
                flush=True,
            )
    return str(experiment.experiment_id)
