"""The recorder against a real MLflow server that goes away and comes back: nothing lost, nothing twice."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fersweep.results.predict.prediction import champion
from fersweep.results.promote.promotion import promote
from fersweep.results.tracking import address, lag, recorder_process
from fersweep.results.tracking import recorder as recorder_module
from tests.processes import wait_until
from tests.recorded import check_all_recorded, run_ids, runs_of
from tests.servers import MlflowServer
from tests.sweeps import METRIC, FakeDriver, NewSweep

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[MlflowServer]:
    """One for all tests, which take turns: to start it takes seconds."""
    server = MlflowServer(home / "server")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def new_sweep(new_sweep: NewSweep, server: MlflowServer) -> NewSweep:
    """Makes sweeps that record on the server."""

    def make() -> tuple[Path, FakeDriver]:
        sweep_dir, driver = new_sweep()
        sweep = json.loads((sweep_dir / "sweep.json").read_text())
        sweep["sweep"]["tracking"]["uri"] = server.uri
        (sweep_dir / "sweep.json").write_text(json.dumps(sweep))
        return sweep_dir, driver

    return make


@pytest.fixture(autouse=True)
def _nothing_in_the_embedded_store(home: Path) -> Iterator[None]:
    yield
    assert not (home / "mlflow.db").exists()


def log_of(sweep_dir: Path) -> list[str]:
    """What the recorder said, without the times."""
    return [line[20:] for line in (sweep_dir / "recorder.log").read_text().splitlines()]


def level(sweep_dir: Path) -> bool:
    size = (sweep_dir / "journal.jsonl").stat().st_size
    return lag.read_level(sweep_dir).offset == size


def test_away_for_a_while(server: MlflowServer, new_sweep: NewSweep) -> None:
    """Killed in the middle of a sweep and started again on its port; the sweep goes on as if it were there."""
    sweep_dir, driver = new_sweep()
    recorder = recorder_module.Recorder(sweep_dir)
    driver.journal.session("started")
    recorder.start()
    driver.run_trial(0, {"rate": 0.1}, 4, "finished")
    driver.sample(1, {"rate": 0.2})
    driver.report(1, [{"epoch": epoch, METRIC: epoch / 10} for epoch in (1, 2)])
    wait_until(lambda: level(sweep_dir))
    ids = run_ids(sweep_dir)
    assert {name: run.info.status for name, run in runs_of(sweep_dir).items()} == {
        "parent": "RUNNING",
        "0000": "FINISHED",
        "0001": "RUNNING",
    }
    server.kill()
    start = time.monotonic()
    driver.report(1, [{"epoch": epoch, METRIC: epoch / 10} for epoch in (3, 4)])
    driver.run_trial(2, {"rate": 0.3}, 4, "stopped")
    assert time.monotonic() - start < 10, "the driver waited"
    wait_until(lambda: lag.read_level(sweep_dir).error)
    driver.report(1, [{"epoch": 5, METRIC: 0.5}])
    time.sleep(2)
    server.start()
    back = time.monotonic()
    wait_until(lambda: level(sweep_dir))
    assert time.monotonic() - back < recorder_process.MAX_WAIT_S + 60
    driver.end(1, "failed", "val_loss is nan at epoch 6")
    driver.journal.session("finished")
    assert recorder.finish() is None
    assert check_all_recorded(sweep_dir)
    assert run_ids(sweep_dir).items() >= ids.items()
    first, second = log_of(sweep_dir)
    assert first == f"{server.uri} does not answer (Connection refused); trying again"
    assert second.startswith("level again after ")


def test_away_at_the_end(server: MlflowServer, new_sweep: NewSweep) -> None:
    """The driver waits for a bounded time, and says what is missing; `record` makes it good."""
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 4, "finished")
    assert recorder_process.record(sweep_dir)
    ids = run_ids(sweep_dir)
    server.kill()
    recorder = recorder_module.Recorder(sweep_dir)
    recorder.start()
    driver.run_trial(1, {"rate": 0.1}, 3, "finished")
    driver.journal.session("finished")
    wait_until(lambda: lag.read_level(sweep_dir).error)
    start = time.monotonic()
    lack = recorder.finish(timeout_s=2)
    assert 2 <= time.monotonic() - start < 10
    assert lack == (
        f"MLflow lacks up to 3 epochs of 1 trial ({server.uri} does not answer (Connection refused)); "
        f"made good by: fersweep status {sweep_dir.name} --sync --home {sweep_dir.parents[1]}"
    )
    assert recorder.pid is not None
    os.kill(recorder.pid, signal.SIGKILL)
    recorder._child._process.wait()  # pyright: ignore
    start = time.monotonic()
    with pytest.raises(recorder_process.NotRecorded, match=rf"{server.uri} does not answer .*--sync"):
        recorder_process.record(sweep_dir, patience_s=1)
    assert time.monotonic() - start < 10
    server.start()
    assert recorder_process.record(sweep_dir)
    assert lag.missing(sweep_dir) is None
    check_all_recorded(sweep_dir)
    assert run_ids(sweep_dir).items() >= ids.items()


def test_promoted_on_the_server(server: MlflowServer, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a run of its own, also where the environment names a run of the user's."""
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.1}, 4, "finished")
    driver.journal.session("finished")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    assert address.asked(server.uri).kind == "mlflow"
    found = promote(sweep_dir)
    checkpoint = champion(sweep_dir.parents[1], uri=server.uri)
    assert (checkpoint / "model.json").read_bytes() == (Path(found.checkpoint) / "model.json").read_bytes()
    assert promote(sweep_dir).version == found.version


def test_a_server_that_hangs_holds_nobody_up(server: MlflowServer, new_sweep: NewSweep) -> None:
    """It takes connections and never answers; what it got before is neither lost nor doubled."""
    sweep_dir, driver = new_sweep()
    driver.journal.session("started")
    environment = os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "1"  # the recorder's
    recorder = recorder_module.Recorder(sweep_dir)
    try:
        recorder.start()
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = environment
    wait_until(lambda: level(sweep_dir))
    server.signal(signal.SIGSTOP)
    driver.run_trial(0, {"rate": 0.1}, 4, "finished")
    driver.journal.session("finished")
    lack = recorder.finish(timeout_s=3)
    server.signal(signal.SIGCONT)
    assert lack is not None
    assert "up to 4 epochs of 1 trial" in lack
    assert "does not answer (timed out)" in lack
    assert recorder.finish() is None
    check_all_recorded(sweep_dir)
