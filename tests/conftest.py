"""Shared by all tests: one Ray for the whole run, one tiny dataset, the directory of real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datasets import write_tiny_dataset

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models; and threads of several processes would spin against each other


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 360 faces, three classes, made without MediaPipe. Read-only."""
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray on this machine with two CPUs, as `fersweep launch` starts it."""
    import ray

    from cluster.session import connect

    connect(None, num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture
def realdata() -> Path:
    """The directory of real data; the test is skipped where there is none."""
    if not (directory := os.environ.get("FERSWEEP_REALDATA")):
        pytest.skip("FERSWEEP_REALDATA is not set")
    return Path(directory)
