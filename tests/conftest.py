"""Shared by all tests: one Ray for the whole run, one tiny dataset, the directory of real data."""

from __future__ import annotations

import gc
import os
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from fersweep.results.tracking.recorder import Recorder
from fersweep.trainables.keras_training.runtime import share_process
from tests.datasets import write_tiny_dataset
from tests.servers import free_port

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("FERSWEEP_REPORT", "0")  # a page for each sweep of the tests would take more time than the tests
# Tiny models; and threads of several processes would spin against each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault(
    "RAY_worker_niceness", "0"
)  # at Ray's 15 trials would get nothing while other tests use the cores
READINGS = tempfile.TemporaryDirectory(prefix="readings-")
os.environ["FERSWEEP_READINGS"] = READINGS.name  # not the user's
STAGED = tempfile.TemporaryDirectory(prefix="staged-")
os.environ["FERSWEEP_STAGED"] = os.environ["STAGED_BY_WORKERS"] = STAGED.name  # and Ray's workers
os.environ |= {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
}  # else a worker looks for a machine's role
OWN = ("torch_pixels", "torch_features", "keras_features", "keras_pixels")
os.environ["FERSWEEP_TRAINABLES"] = " ".join(
    ["tests.doubles.faulty_curve", *(f"tests.doubles.own_{name}" for name in OWN)]
)
LONGEST_FIRST = ("ray", "processes", "slow", "")  # markers; the last is none
os.fsync = lambda *_: None  # in this process: no test cuts the power, and a journal's events would wait for the disk
share_process()  # TensorFlow and torch meet in the process that runs all tests; a trial loads one of them


def pytest_configure(config: pytest.Config) -> None:
    # torch says so where TensorFlow looked for a GPU before it
    config.addinivalue_line("filterwarnings", "ignore:CUDA initialization:UserWarning")


def pytest_collection_finish() -> None:
    """Frameworks hold a million objects for good: to look at them for garbage again and again takes a twentieth of the time."""
    gc.set_threshold(20_000, 20, 50)
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()
    READINGS.cleanup()
    STAGED.cleanup()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups, and before -m reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups for `-n 2 --dist loadgroup`: all tests on the shared Ray are one, so that it is started once; else a file
    is one, so that what its tests share is made once. Those that take longest come first: both workers end together.
    """
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        shared = "ray_session" in getattr(item, "fixturenames", ())
        if shared:
            item.add_marker("ray")
        name = "ray" if shared else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(name))
        groups.setdefault(name, []).append(item)

    def rank(group: list[pytest.Item]) -> int:
        return min(LONGEST_FIRST.index(name) for item in group for name in LONGEST_FIRST if _has(item, name))

    items[:] = [item for group in sorted(groups.values(), key=rank) for item in group]


def _has(item: pytest.Item, marker: str) -> bool:
    return marker == "" or item.get_closest_marker(marker) is not None


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 360 faces, three classes, made without MediaPipe. Read-only."""
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mlflow.db` of a home that nothing is recorded in. To be copied: MLflow takes seconds to make its tables."""
    from fersweep.results.mlflow_store.connection import open_home

    home, before = tmp_path_factory.mktemp("store"), os.umask(0o002)
    try:
        open_home(home)
    finally:
        os.umask(before)
    return home / "mlflow.db"


@pytest.fixture
def nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In MLflow, which takes seconds a sweep."""
    for name in ("start", "finish"):
        monkeypatch.setattr(Recorder, name, lambda *_: None)


@pytest.fixture(scope="module")
def recorded_here() -> Iterator[None]:
    """Sweeps of this process are recorded by it, when they end: a recorder of their own takes 4 s of CPU time."""
    from fersweep.results.tracking.recorder_process import record

    def finish(recorder: Recorder, *_: object) -> None:
        assert record(recorder.sweep_dir, parent_pid=os.getpid())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "start", lambda *_: None)
        patch.setattr(Recorder, "finish", finish)
        yield


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray on this machine with two CPUs, as `fersweep launch` starts it."""
    import ray

    from fersweep.common.ray_connection import connect

    connect(None, num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture
def ray_address(ray_session: None) -> str:
    """Where command lines in processes of their own find the shared Ray, which outlives them (`--address`)."""
    from fersweep.common.ray_connection import head_address

    return head_address()


@pytest.fixture
def bucket() -> Iterator[str]:
    """A bucket on an S3 server on the loopback address."""
    from moto.server import ThreadedMotoServer
    from pyarrow.fs import FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(
        f"http://{host}:{port}/moto-api/reset", b""
    ).close()  # what earlier tests of this process stored
    options = f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    FileSystem.from_uri(f"s3://sweeps{options}&allow_bucket_creation=true")[0].create_dir("sweeps")
    yield f"s3://sweeps/team{options}"
    server.stop()


@pytest.fixture
def realdata() -> Path:
    """The directory of real data; the test is skipped where there is none."""
    if not (directory := os.environ.get("FERSWEEP_REALDATA")):
        pytest.skip("FERSWEEP_REALDATA is not set")
    return Path(directory)
