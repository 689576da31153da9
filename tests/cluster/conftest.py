"""What the tests of the cluster's room share: journals that are closed, and sweeps that nobody records."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fersweep.results.record.journal import Journal
from tests.servers import free_port

OpenJournal = Callable[[Path], Journal]


@pytest.fixture
def open_journal() -> Iterator[OpenJournal]:
    """Opens journals, which are closed when the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda path: stack.enter_context(contextlib.closing(Journal(path)))


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    """A home without sweeps, whose MLflow store is there already."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_store, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def bucket() -> Iterator[str]:
    """A bucket on an S3 server on the loopback address."""
    from moto.server import ThreadedMotoServer
    from pyarrow.fs import FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    FileSystem.from_uri(f"s3://sweeps{options}&allow_bucket_creation=true")[0].create_dir("sweeps")
    yield f"s3://sweeps/team{options}"
    server.stop()
