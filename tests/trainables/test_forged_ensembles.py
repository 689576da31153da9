"""The model.json of an ensemble that is not of the members beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.task import Task
from fersweep.trainables import ensemble

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
