"""A blendshape LSTM that reads several frames of a face with the weights of one."""

from pathlib import Path

import numpy as np
import pytest

from fersweep import trainables
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.task import Task
from fersweep.trainables import blendshape_lstm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def arrays(tiny_dataset: Path) -> TaskArrays:
    return Task(tiny_dataset).arrays()


def test_a_window_of_one_frame_is_the_frame(arrays: TaskArrays, tmp_path: Path) -> None:
    hparams = {"units": [5, 4], "ema_momentum": 0.5, "bidirectional": True, "standardise": True, "dropout": 0.1}
    model = blendshape_lstm.build(hparams, arrays, 0)
    model.fit(1)
    model.save(tmp_path)
    restored, x = trainables.restore(tmp_path), arrays.val.x[:6]
    assert isinstance(restored, blendshape_lstm.WindowedClassifier)
    alone = restored.predict_window(x[:, None])
    np.testing.assert_allclose(alone, model.predict(x), atol=1e-6)
    window = restored.predict_window(np.stack([x, x[::-1], x], axis=1))
    assert window.shape == alone.shape
    np.testing.assert_allclose(window.sum(axis=1), 1, atol=1e-5)
    assert np.abs(window - alone).max() > 1e-4, "the frames before count"


def test_one_that_reads_scores_as_steps_has_no_window(arrays: TaskArrays) -> None:
    assert not hasattr(blendshape_lstm.build({"units": [3], "layout": "steps"}, arrays, 0), "predict_window")
