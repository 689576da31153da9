"""Ensembles: a model.json that is not of the members beside it, and members of somebody's own code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.models.other_process import answers_elsewhere
from fersweep.trainables import ensemble
from tests.fersweep.test_check_trainable import SOUND

Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model["members"][0].update(trainable="/tmp/evil.py:X"),
        lambda model: model["members"][0].update(hparams={"top": 0.1}),
        lambda model: model["members"].pop(),
        lambda model: model["members"][1].update(weight=1e308),
        lambda model: model["members"][1].update(weight=-1.0),
        lambda model: model["classes"].reverse(),
    ],
    ids=["trainable", "hparams", "fewer", "too heavy", "negative", "classes"],
)
def test_it_is_refused_in_one_line(tmp_path: Path, tiny_dataset: Path, change: Change) -> None:
    arrays = Task(tiny_dataset).arrays()
    for number, top in enumerate((0.5, 0.7)):
        member = tmp_path / str(number)
        trainables.build("curve", {"top": top, "rate": 0.1}, arrays, number).save(member)
    ensemble.write(tmp_path / "both", [tmp_path / "0", tmp_path / "1"])
    assert trainables.restore(tmp_path / "both").weights == [1.0, 1.0]
    path = tmp_path / "both/model.json"
    model = json.loads(path.read_text())
    change(model)
    path.write_text(json.dumps(model))
    with pytest.raises(InputError, match=r"put a copy of|no model's description") as error:
        trainables.restore(tmp_path / "both")
    assert "\n" not in str(error.value)


@pytest.mark.processes
def test_members_of_somebodys_own_code_open_in_a_fresh_process_without_the_file(
    tmp_path: Path, tiny_dataset: Path
) -> None:
    file, arrays = tmp_path / "mine.py", Task(tiny_dataset).arrays()
    file.write_text(SOUND)
    name, answers = trainables.resolve(str(file)), []
    for number in range(2):
        model = trainables.build(name, {"learning_rate": 0.1 + number}, arrays, number)
        model.fit(1)
        model.save(tmp_path / str(number))
        answers.append(model.predict(arrays.val.x))
    ensemble.write(tmp_path / "both", [tmp_path / "0", tmp_path / "1"])
    for gone in (file, tmp_path / "0", tmp_path / "1"):
        gone.rename(gone.with_name(f"{gone.name}-gone"))
    elsewhere, _ = answers_elsewhere(tmp_path / "both", arrays.val.x)
    assert elsewhere == pytest.approx(np.mean(answers, axis=0), abs=1e-6)
