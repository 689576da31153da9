"""The registered model with images: in pandas and behind `mlflow models serve`, the same answers as `predict`'s."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from fersweep import trainables
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.mlflow_store import connection
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.open_model import open_model
from fersweep.results.predict.prediction import predict
from fersweep.results.promote.packaging import log_model
from fersweep.trainables.saved_model import read_model
from tests.datasets import write_tiny_dataset
from tests.servers import free_port, post, wait_for

pytestmark = pytest.mark.slow

BOX = ["left", "top", "right", "bottom"]


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from skimage import data

    path = tmp_path_factory.mktemp("photos") / "portrait.jpg"
    Image.fromarray(data.astronaut()).save(path)
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "landmarks", landmarks=True)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, dataset: Path, empty_store: Path) -> dict[str, tuple[Path, Path]]:
    """Features → checkpoint, and the directory of the MLflow model that was made of it."""
    home, found = tmp_path_factory.mktemp("home"), {}
    shutil.copy(empty_store, home)
    client = connection.open_home(home)
    experiment = connection.experiment_id(client, connection.EXPERIMENT, home)
    mlflow.set_tracking_uri(client.tracking_uri)
    for features in ("blendshapes", "blendshapes+landmarks", "pixels"):
        task = Task(dataset, TaskSpec(features=features))
        model = trainables.load("curve").build({}, task.arrays(), 0)
        model.save(home / features)
        x = task.load("val").x[:2]
        with mlflow.start_run(experiment_id=experiment):
            info = log_model(
                FaceModel(features, read_model(home / features), home / features), task, x, model.predict(x)
            )
        found[features] = (home / features, Path(mlflow.artifacts.download_artifacts(info.model_uri)))
    return found


def seen(checkpoint: Path, portrait: Path) -> dict[str, Any]:
    """The only face of the portrait as `fersweep predict` tells it, flat."""
    ((face,),) = (result.faces for result in predict([portrait], [open_model(str(checkpoint), portrait.parent)]))
    return {**(face.probabilities or {}), "label": face.label, **dict(zip(BOX, face.box, strict=True))}


@pytest.mark.parametrize("features", ["blendshapes+landmarks", "pixels"])
def test_images_in_every_form(features: str, logged: dict, portrait: Path, dataset: Path) -> None:
    checkpoint, directory = logged[features]
    model = mlflow.pyfunc.load_model(str(directory))
    photo, content = np.asarray(Image.open(portrait)), portrait.read_bytes()
    text = base64.b64encode(content).decode()
    blank, wide = np.zeros((90, 90), np.uint8), np.concatenate([photo, photo[::2, ::2].repeat(2, axis=0)], axis=1)
    cells = [content, text, f"data:image/jpeg;base64,{text}", photo, photo.tolist(), blank, None, wide]
    index = [f"photo {i}" for i in range(len(cells))]
    found = model.predict(pd.DataFrame({"image": cells}, index=index))
    assert found.index.tolist() == index
    wanted = seen(checkpoint, portrait)
    assert list(found.columns) == list(wanted)
    for row in found.iloc[:5].to_dict("records"):
        assert row == pytest.approx(wanted, abs=1e-6)
    assert found.iloc[5:7].isna().all(axis=None)
    assert json.loads(json.dumps(found.to_dict("records"))) == found.to_dict("records"), "JSON has no NaN"
    left, _, right, _ = found[BOX].iloc[7]
    assert right - left > 100, "the larger of two faces"

    every = model.predict(pd.DataFrame({"image": [blank, wide, content]}), params={"all_faces": True})
    assert every["row"].tolist() == every.index.tolist() == [1, 1, 2]
    assert every["left"].tolist() == [*sorted(every["left"].iloc[:2]), wanted["left"]]
    assert every.iloc[2, 1:].to_dict() == pytest.approx(wanted, abs=1e-6)
    empty = model.predict(pd.DataFrame({"image": []}, dtype=object))
    assert empty.shape == (0, len(wanted)), "a chunk may have no rows"

    x = Task(dataset, TaskSpec(features=features)).load("val").x[:4]  # pyright: ignore[reportArgumentType]
    names = open_model(str(checkpoint), portrait.parent).described["feature_names"]
    given = pd.DataFrame({"face": list(x)}) if features == "pixels" else pd.DataFrame(x, columns=names)
    plain = model.predict(given)
    assert plain.columns[-1] == "label"
    np.testing.assert_allclose(plain.iloc[:, :-1], trainables.restore(checkpoint).predict(x), atol=1e-6)
    holes = given.astype(object)
    holes.iloc[1, 0] = None
    pd.testing.assert_frame_equal(model.predict(holes).drop(index=1), plain.drop(index=1).astype(object))
    assert model.predict(holes).iloc[1].isna().all()


def test_what_is_no_input(logged: dict, portrait: Path) -> None:
    pixels, blendshapes = (mlflow.pyfunc.load_model(str(logged[name][1])) for name in ("pixels", "blendshapes"))
    for model, given, message in (
        (pixels, {"image": ["/etc/hostname"]}, "image of row 0: a text must be the base64 of a JPEG or PNG file"),
        (pixels, {"image": [None, portrait.read_bytes()[:999]]}, "image of row 1: .*cannot be read as a picture"),
        (pixels, {"image": [np.ones((9, 9))]}, "image of row 0: wanted whole numbers from 0 to 255, .* fractions"),
        (pixels, {"image": [np.ones((9, 9, 4), int)]}, r"image of row 0: an array must be .* is \(9, 9, 4\)"),
        (pixels, {"image": [7]}, "image of row 0: wanted a picture, but got a int"),
        (pixels, {"face": [[[0, 0], [0, 256]]]}, "face of row 0: wanted whole numbers"),
        (pixels, {"face": [np.zeros((4, 4), np.uint8)]}, r"face of row 0: wanted a gray face of \(48, 48\)"),
        (pixels, {"picture": [1]}, "wants a column image .*, or the column face: there is no column face"),
        (blendshapes, {"_neutral": [0.1]}, "or the 48 blendshapes in its signature: there is no column browDownLeft"),
    ):
        with pytest.raises(MlflowException, match=message) as caught:
            model.predict(pd.DataFrame(given))
        assert "\n" not in caught.value.message
        assert caught.value.__suppress_context__
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.processes
def test_served(logged: dict, portrait: Path, tmp_path: Path) -> None:
    checkpoint, directory = logged["blendshapes"]
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "--model-uri",
        str(directory),
        "--env-manager",
        "local",
    ]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts uvicorn by name
    environment = {**os.environ, **connection.ENVIRONMENT, "PATH": path, "FERSWEEP_CACHE": str(tmp_path)}
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server, tmp_path / "server.log")
        text = base64.b64encode(portrait.read_bytes()).decode()
        wanted = seen(checkpoint, portrait)
        for given in ({"dataframe_records": [{"image": text}]}, {"inputs": [{"image": text}]}):
            (row,) = post(port, given)["predictions"]
            assert row == pytest.approx(wanted, abs=1e-6)
        split = {"columns": ["image"], "data": [[text], [None]]}
        first, second = post(port, {"dataframe_split": split})["predictions"]
        assert first == pytest.approx(wanted, abs=1e-6)
        assert set(second.values()) == {None}
        (row,) = post(port, {"dataframe_split": split, "params": {"all_faces": True}})["predictions"]
        assert row == pytest.approx({"row": 0, **wanted}, abs=1e-6)
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(port, {"dataframe_records": [{"image": "no base64!"}]})
        assert caught.value.code == 400
        assert json.load(caught.value)["message"].endswith(
            "Error: image of row 0: a text must be the base64 of a JPEG or PNG file, and this one is no base64"
        )
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
