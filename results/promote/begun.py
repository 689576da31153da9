"""What a promotion has begun and a kill may leave: its temporary files, and its run in MLflow. Ended by the next one.

with scratch(home):                       # temporary files are below the home, and gone after it
    for line in end_begun(client, experiment): ...
"""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.results.mlflow_store.addresses import sqlite_file
from fersweep.results.mlflow_store.registry import MODEL
from fersweep.results.record.drivers import is_gone

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SCRATCH = ".promote"  # below the home
HOST_TAG, PID_TAG = "fersweep.host", "fersweep.pid"


def process_tags() -> dict[str, str]:
    """Tags of a run that say which process makes it."""
    return {HOST_TAG: socket.gethostname(), PID_TAG: str(os.getpid())}


@contextmanager
def scratch(home: Path) -> Iterator[Path]:
    """Make the temporary files of this process, MLflow's among them, in one directory below the home, and remove it.

    The promotion's lock must be held: what is there already was left by a promotion that was killed.
    """
    directory, before = Path(home).resolve() / SCRATCH, tempfile.tempdir
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    tempfile.tempdir = str(directory)
    try:
        yield directory
    finally:
        tempfile.tempdir = before
        shutil.rmtree(directory, ignore_errors=True)


def end_begun(client: MlflowClient, experiment: str) -> list[str]:
    """End the runs of promotions that broke off; a line for each. The promotion's lock must be held.

    In a home's own store all such runs are dead, since the lock is held; on a server those of this machine whose process
    is gone.
    """
    running = client.search_runs([experiment], "tags.`fersweep.kind` = 'promotion' and attributes.status = 'RUNNING'")
    registered = {version.run_id: version.version for version in client.search_model_versions(f"name = '{MODEL}'")}
    said: list[str] = []
    for run in running:
        run_id, tags = str(run.info.run_id), run.data.tags
        if sqlite_file(client.tracking_uri) is None and not is_gone(tags.get(HOST_TAG), tags.get(PID_TAG)):
            continue
        _end_models(client, experiment, run_id)
        version = registered.get(run_id)
        client.set_terminated(run_id, "KILLED" if version is None else "FINISHED")
        left = "it registered nothing" if version is None else f"it had registered version {version}"
        said.append(f"a promotion of sweep {tags.get('fersweep.sweep', '?')} had broken off: its run is ended, {left}")
    return said


def _end_models(client: MlflowClient, experiment: str, run_id: str) -> None:
    """MLflow keeps a model that was being logged as pending for ever."""
    from mlflow.entities import LoggedModelStatus

    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if model.status == LoggedModelStatus.PENDING:
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
