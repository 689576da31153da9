"""A candidate and a champion that learned other datasets: neither is judged on faces that it, or the other, has learned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.learned_faces import FILE
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.champion.champion import champion
from fersweep.results.mlflow_store import connection, registry
from fersweep.results.models.learned import seen_by
from fersweep.results.models.open_model import open_model
from fersweep.results.promote.gates import read_gates
from fersweep.results.promote.promotion import promote
from tests.datasets import write_with_faces_of
from tests.sweeps import FakeDriver, write_sweep_json

pytestmark = pytest.mark.slow
NUM = 9  # faces of test that the champion learned


@pytest.fixture(scope="module")
def own(home: Path, arrays: TaskArrays) -> Path:
    """The candidate's sweep."""
    return ended(home, home / "data" / "tiny", arrays, "own")


@pytest.fixture(scope="module")
def other(home: Path, own: Path) -> Path:
    """The champion's sweep, on a dataset whose train has faces of the other's test."""
    task = Task(home / "data" / "tiny")
    faces, _ = task.pictures("test", range(NUM))
    dataset = write_with_faces_of(home / "data" / "other", {"train": faces})
    return ended(home, dataset, Task(dataset).arrays(), "other")


def ended(home: Path, dataset: Path, arrays: TaskArrays, name: str) -> Path:
    directory = write_sweep_json(home, dataset, arrays, name)
    driver = FakeDriver(directory, arrays)
    driver.journal.session("started")
    driver.run_trial(0, {"rate": 0.5}, 2, "finished")
    driver.journal.session("finished")
    driver.journal.close()
    return directory


def test_they_are_compared_on_faces_that_neither_has_learned(home: Path, own: Path, other: Path) -> None:
    promote(other, "both")
    gates = read_gates(["better_than_champion", "max_recall_drop=1", "min_accuracy=0"])
    promoted = promote(own, "both", gates=gates, force=True)
    better, _, _ = promoted.verdicts
    assert f"without {NUM} faces that one of them may have learned" in better.found
    task = Task(home / "data" / "tiny")
    num_faces = len(task.everyone("test")[0])
    said = f"{NUM} of {num_faces} faces of test may have been learned by the champion: {NUM} the same picture"
    assert said[1:] in str(champion(home, "both").card)
    assert promoted.figures.all.num_faces == num_faces, "its own figures are of all faces: it has learned none"


def test_what_a_version_learned_travels_with_it(home: Path, own: Path, other: Path) -> None:
    """Its dataset and its sweep are gone."""
    version = promote(other, "travels", gates={}).version
    client = connection.open_home(home)
    checkpoint = registry.fetch(client, client.get_model_version(registry.MODEL, str(version)))
    assert (checkpoint.parent / FILE).is_file()
    for name in ("data", "sweeps"):
        shutil.move(home / name / "other", home / f"{name}-other")
    task = Task(home / "data" / "tiny")
    seen = seen_by(open_model(str(version), home), home, task, "test")
    assert seen is not None
    assert (seen.num_same, seen.num_near) == (NUM, None)
    assert "near twins were not looked for" in seen.sentence("it")
