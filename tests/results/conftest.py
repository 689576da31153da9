"""One home, so one MLflow store, for what is recorded in these tests: making a store takes seconds."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fersweep import trainables
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from tests.datasets import write_tiny_dataset
from tests.sweeps import FakeDriver, NewSweep, write_sweep_json


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_store, home)
    return home


@pytest.fixture(scope="module")
def arrays(home: Path) -> TaskArrays:
    return Task(write_tiny_dataset(home / "data" / "tiny")).arrays()


@pytest.fixture(scope="module")
def pixels(home: Path, arrays: TaskArrays) -> TaskArrays:
    return Task(home / "data" / "tiny", TaskSpec(features="pixels")).arrays()


@pytest.fixture
def new_sweep(home: Path, arrays: TaskArrays, pixels: TaskArrays, request: pytest.FixtureRequest) -> Iterator[NewSweep]:
    """Makes sweeps of a trainable that have not begun: their directory and a driver."""
    made: list[FakeDriver] = []

    def make(trainable: str = "curve") -> tuple[Path, FakeDriver]:
        name = re.sub(r"[^\w.-]", "-", f"{request.node.name}-{len(made)}")
        learned = pixels if "pixels" in (trainables.load(trainable).FEATURES or ()) else arrays
        sweep_dir = write_sweep_json(home, home / "data" / "tiny", learned, name, trainable)
        made.append(FakeDriver(sweep_dir, learned))
        return sweep_dir, made[-1]

    yield make
    for driver in made:
        driver.journal.close()
