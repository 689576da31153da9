"""Shared by all tests: one Ray for the whole run, one tiny dataset, the directory of real data."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fersweep.trainables import share_process
from tests.datasets import write_tiny_dataset

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("FERSWEEP_REPORT", "0")  # a page for each sweep of the tests would take more time than the tests
# Tiny models; and threads of several processes would spin against each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
READINGS = tempfile.TemporaryDirectory(prefix="readings-")  # gone when the tests end
os.environ["FERSWEEP_READINGS"] = READINGS.name  # not the user's
os.environ["FERSWEEP_TRAINABLES"] = "tests.doubles.faulty_curve"
share_process()  # TensorFlow and torch meet in the process that runs all tests; a trial loads one of them


def pytest_configure(config: pytest.Config) -> None:
    # torch says so where TensorFlow looked for a GPU before it
    config.addinivalue_line("filterwarnings", "ignore:CUDA initialization:UserWarning")


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 360 faces, three classes, made without MediaPipe. Read-only."""
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray on this machine with two CPUs, as `fersweep launch` starts it."""
    import ray

    from fersweep.common.ray_connection import connect

    connect(None, num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture
def realdata() -> Path:
    """The directory of real data; the test is skipped where there is none."""
    if not (directory := os.environ.get("FERSWEEP_REALDATA")):
        pytest.skip("FERSWEEP_REALDATA is not set")
    return Path(directory)
