"""What the tests of the cluster's room share: journals that are closed, and sweeps that nobody records."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fersweep.results.record.journal import Journal

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
