"""The ledger of test: a line before each judgement, for whoever judges, of faces that are known by their names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate import ledger
from fersweep.results.mlflow_store import connection
from tests.datasets import write_tiny_dataset


def test_each_time_has_a_line_that_outlives_its_deletion(tmp_path: Path, tiny_dataset: Path, empty_store: Path) -> None:
    shutil.copy(empty_store, tmp_path)
    client, task = connection.open_home(tmp_path), Task(tiny_dataset)
    faces = ledger.faces_of(task)
    assert ledger.lines(client, faces) == []
    first = ledger.ask(client, tmp_path, task, model="peer.onnx", verb="evaluate")
    second = ledger.ask(client, tmp_path, task, model="cnn:7", verb="promote", against="3", alias="champion")
    assert (first.number, second.number) == (1, 2)
    client.delete_run(first.run_id)
    known = ledger.lines(client, faces)
    assert [(line.number, line.model, line.verb, line.against, line.macro_f1) for line in known] == [
        (1, "peer.onnx", "evaluate", "", None),
        (2, "cnn:7", "promote", "3", None),
    ]
    assert known[0].fingerprint == task.manifest["fingerprint"]

    experiment = client.get_experiment_by_name(ledger.EXPERIMENT).experiment_id
    client.rename_experiment(experiment, "of others")
    client.delete_experiment(experiment)
    third = ledger.ask(client, tmp_path, task, model="cnn:7", verb="promote", against="3")
    fourth = ledger.ask(client, tmp_path, task, model="cnn:9", verb="promote", against="3")
    assert (third.number, fourth.number) == (3, 4), (
        "an experiment that was renamed, or deleted, in MLflow's page is found"
    )
    known = ledger.lines(client, faces)
    assert ledger.models_since(known, "nobody") == ["peer.onnx", "cnn:7", "cnn:9"]
    assert ledger.models_since(known, "cnn:7") == ["cnn:9"], "cnn:7 was promoted last, so it is the champion"
    ledger.ask(client, tmp_path, task, model="cnn:5 (2 seeds, median), seed 1", verb="promote")
    ledger.ask(client, tmp_path, task, model="champion", verb="evaluate")
    known = ledger.lines(client, faces)
    assert ledger.models_since(known, "cnn:7", ["champion"]) == ["cnn:9"]


def test_faces_are_known_by_their_names(tmp_path: Path, tiny_dataset: Path) -> None:
    """Not by the dataset's fingerprint, the task, or the order of rows."""
    faces = ledger.faces_of(Task(tiny_dataset))
    assert faces == ledger.faces_of(Task(tiny_dataset, TaskSpec(features="pixels")))
    assert faces != ledger.faces_of(Task(write_tiny_dataset(tmp_path / "other", seed=5)))


def test_a_home_that_cannot_be_written_has_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert ledger.open_ledger(tmp_path / "file" / "runs") is None


@pytest.mark.parametrize(
    ("number", "word"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st")]
)
def test_ordinals(number: int, word: str) -> None:
    assert ledger.ordinal(number) == word
