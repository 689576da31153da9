"""Several recorders at once on one store: SQLite under one home, PostgreSQL behind a server."""

import json
from pathlib import Path

import pytest

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.tracking import recorder as recorder_module
from tests.recorded import check_all_recorded
from tests.servers import MlflowServer, postgres
from tests.sweeps import FakeDriver, write_sweep_json

NUM_TRIALS = 4

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def arrays(tiny_dataset: Path) -> TaskArrays:
    return Task(tiny_dataset).arrays()


def record_at_once(home: Path, dataset: Path, arrays: TaskArrays, num_sweeps: int, uri: str | None) -> list[Path]:
    """Run sweeps beside each other, each with its recorder → their directories; fails where MLflow lacks something."""
    directories = [write_sweep_json(home, dataset, arrays, f"sweep-{number}") for number in range(num_sweeps)]
    for directory in directories:
        sweep = json.loads((directory / "sweep.json").read_text())
        sweep["sweep"]["tracking"]["uri"] = uri
        (directory / "sweep.json").write_text(json.dumps(sweep))
    drivers = [FakeDriver(directory, arrays) for directory in directories]
    recorders = [recorder_module.Recorder(directory) for directory in directories]
    for driver, recorder in zip(drivers, recorders, strict=True):
        driver.journal.session("started")
        recorder.start()
    for trial in range(NUM_TRIALS):
        for driver in drivers:
            driver.run_trial(trial, {"rate": 0.1 + 0.01 * trial}, 9, "stopped" if trial % 3 else "finished", chunk=1)
    for driver in drivers:
        driver.journal.session("finished")
        driver.journal.close()
    assert [recorder.finish() for recorder in recorders] == [None] * num_sweeps
    return directories


def test_two_recorders_on_one_home(tmp_path: Path, tiny_dataset: Path, arrays: TaskArrays) -> None:
    """From the first moment, when both make the store, to the last; SQLite has one writer at a time."""
    for directory in record_at_once(tmp_path, tiny_dataset, arrays, 2, None):
        check_all_recorded(directory)
        assert (directory / "recorder.log").read_text() == "", "no `database is locked`"


def test_recorders_on_postgresql(tmp_path: Path, tiny_dataset: Path, arrays: TaskArrays) -> None:
    with postgres() as address:
        server = MlflowServer(tmp_path / "server", address)
        try:
            server.start()
            for directory in record_at_once(tmp_path, tiny_dataset, arrays, 3, server.uri):
                check_all_recorded(directory)
                assert (directory / "recorder.log").read_text() == ""
        finally:
            server.kill()
    assert not (tmp_path / "mlflow.db").exists()


def test_the_tables_that_a_store_begins_with_are_those_of_mlflow() -> None:
    from mlflow_tables import tables

    from fersweep.results.mlflow_store.connection import TABLES

    ours, theirs = (  # the order of indices and constraints varies
        sorted(line.strip(" ,\t") for line in text.splitlines()) for text in (TABLES.read_text(), tables())
    )
    assert ours == theirs, "run docs/generate/mlflow_tables.py"
