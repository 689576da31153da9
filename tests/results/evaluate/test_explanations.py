"""What a net looks at: which faces are shown, and that no face of test is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fersweep import trainables
from fersweep.data_pipeline.tasks.arrays import Arrays, TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate.explanations import draw_explanations, most_certain


class ValOnly(Task):
    """A task that has nothing but val."""

    def load(self, split: str) -> Arrays:
        assert split == "val"
        return super().load(split)


@pytest.fixture(scope="module")
def task(pixels: TaskArrays, home: Path) -> Task:
    return ValOnly(home / "data" / "tiny", TaskSpec(features="pixels"))


def test_a_net_with_convolutions(task: Task, pixels: TaskArrays, tmp_path: Path) -> None:
    model = trainables.load("cnn").build({"widths": [4, 20], "image_size": 24}, pixels, 0)
    drawn = draw_explanations(model, task, tmp_path / "made" / "explain")
    assert [path.name for path in drawn] == ["feature_maps.png", "grad_cam.png"]
    for path in drawn:
        with Image.open(path) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 50, "not an empty page"


@pytest.mark.parametrize("name", ["pixel_mlp", "curve"])
def test_nothing_to_look_at(name: str, task: Task, pixels: TaskArrays, tmp_path: Path) -> None:
    assert draw_explanations(trainables.load(name).build({}, pixels, 0), task, tmp_path / "explain") == []
    assert not (tmp_path / "explain").exists()


def test_the_most_certain_faces() -> None:
    y = np.array([0, 0, 0, 1, 1, 2])
    probabilities = np.array(
        [[0.6, 0.3, 0.1], [0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.5, 0.1, 0.4], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]
    )
    right, wrong = [1, 5], [2, 4]  # no face of class 1 is rightly named, none of class 2 wrongly
    assert most_certain(y, probabilities) == right + wrong
