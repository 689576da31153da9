"""From the best checkpoint to a registered model that needs neither this repository nor Ray."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate.judgement import evaluate
from fersweep.results.mlflow_store import addresses, connection
from fersweep.results.mlflow_store.registry import MODEL
from fersweep.results.predict.prediction import champion
from fersweep.results.promote.packaging import PHOTOS, requirements
from fersweep.results.promote.promotion import promote
from fersweep.results.record.recorded_sweep import load_sweep
from tests.sweeps import FakeDriver, NewSweep, write_sweep, write_sweep_json

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sweep_dir(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path, empty_store: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_store, home)
    return write_sweep(home, tiny_dataset)


def load_elsewhere(home: Path, cwd: Path, example: Path) -> dict:
    """Load the champion in a fresh process in another directory, and predict with the inputs in `example` (.npy), then
    with a photo, where no bundle but its own can be had.
    """
    code = f"""
import json, sys, mlflow, numpy as np, pandas as pd
mlflow.set_tracking_uri({addresses.tracking_uri(home)!r})
model = mlflow.pyfunc.load_model("models:/{MODEL}@champion")
names, x = model.metadata.get_input_schema().input_names(), np.load({str(example)!r})
assert names[0] == "image", names
found = model.predict(pd.DataFrame({{"face": list(x)}}) if names[1:] == ["face"] else pd.DataFrame(x, columns=names[1:]))
modules = sorted(m for m in sys.modules if m.count(".") == m.startswith("fersweep."))
from fersweep.data_pipeline.faces import landmarker_bundle as bundle
from skimage import data
bundle.CARRIERS, bundle.URL, bundle.find_bundle.__defaults__ = (), "", (None, "file:///nowhere")
photo = model.predict(pd.DataFrame({{"image": [data.astronaut()]}})).iloc[0]
print(json.dumps({{"columns": list(found.columns), "rows": found.iloc[:, :-1].to_numpy().tolist(),
    "labels": found["label"].tolist(), "modules": modules, "box": photo[["left", "top", "right", "bottom"]].tolist(),
    "code": sys.modules["fersweep.trainables"].__file__}}))
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= connection.ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["FERSWEEP_CACHE"] = str(cwd / "empty")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_promoted_once_judged_once(sweep_dir: Path, tiny_dataset: Path) -> None:
    found = promote(sweep_dir)
    assert (found.version, found.alias, found.uri) == (1, "champion", "models:/fersweep@champion")
    checkpoint = Path(found.checkpoint)
    figures = evaluate(trainables.restore(checkpoint), Task(tiny_dataset), "test")
    assert found.figures.model_copy(update={"asked": None}) == figures
    assert found.figures.asked == 1
    again = promote(sweep_dir, "second")
    assert again.version == 1
    assert again.run_id == found.run_id
    assert again.figures == found.figures

    home = sweep_dir.parents[1]
    sweep = load_sweep(sweep_dir).sweep
    client = connection.connect(addresses.tracking_uri(home))
    run = client.get_run(found.run_id)
    assert run.data.metrics["test_macro_f1"] == figures.detected.macro_f1.value
    assert run.data.metrics["test_accuracy_all_faces"] == figures.all.accuracy.value
    version = client.get_model_version(MODEL, "1")
    assert sorted(version.aliases) == ["champion", "second"]
    assert version.tags["fersweep.fingerprint"] == sweep.dataset.fingerprint
    assert "bootstrap" in version.tags["fersweep.protocol"]
    assert f"{figures.detected.macro_f1.value:.3f} [" in version.description
    assert champion(home, "second").joinpath("state.npz").read_bytes() == checkpoint.joinpath("state.npz").read_bytes()

    told = {"name": "champion v1", "version": 1, "sweep": "cnn", "trial": 7, "sha256": "0" * 64, "num_taught": 9}
    scores = {f"val_{name}": 0.61 for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    before = (sweep_dir / "sweep.json").read_bytes()
    content = json.loads(before) | {"teacher": told | {"scores": scores, "recall": {}}}
    content["sweep"]["distil"] = {"from": "champion", "weight": 0.5}
    (sweep_dir / "sweep.json").write_text(json.dumps(content))
    other = promote(sweep_dir, trial=0, gates={})
    (sweep_dir / "sweep.json").write_bytes(before)
    assert (other.version, other.trial) == (2, 0)
    student = client.get_model_version(MODEL, "2")
    assert student.tags["fersweep.teacher"] == "champion v1"
    assert (
        "It learned the probabilities of champion v1, which is trial 7 of sweep cnn, with a weight of 0.5 against"
        in (student.description)
    )
    assert client.get_model_version_by_alias(MODEL, "champion").version == 2
    with pytest.raises(InputError, match="'nobody'; known: champion, second"):
        champion(home, "nobody")


def test_what_cannot_be_promoted(sweep_dir: Path, tmp_path: Path, tiny_dataset: Path) -> None:
    with pytest.raises(InputError, match=r"trial 2 of sweep 'tiny' failed: val_loss is nan"):
        promote(sweep_dir, trial=2)
    with pytest.raises(InputError, match="trial 99"):
        promote(sweep_dir, trial=99)
    arrays = Task(tiny_dataset).arrays()
    with pytest.raises(InputError, match="has a checkpoint yet"):
        promote(write_sweep_json(tmp_path, tiny_dataset, arrays))
    with pytest.raises(InputError, match="launch a sweep"):
        champion(tmp_path / "nowhere")


def test_another_dataset_is_refused(tmp_path: Path, tiny_dataset: Path) -> None:
    sweep_dir = write_sweep(tmp_path, tiny_dataset, num_trials=1)
    sweep = json.loads((sweep_dir / "sweep.json").read_text())
    sweep["dataset"]["fingerprint"] = "0" * 64
    (sweep_dir / "sweep.json").write_text(json.dumps(sweep))
    with pytest.raises(InputError, match=r"fingerprint .*000000000000"):
        promote(sweep_dir)
    assert not (tmp_path / "mlflow.db").exists(), "refused before anything is written"


@pytest.mark.processes
def test_a_keras_model_loads_without_this_repository(tmp_path: Path, tiny_dataset: Path) -> None:
    arrays = Task(tiny_dataset).arrays()
    sweep_dir = write_sweep_json(tmp_path, tiny_dataset, arrays, trainable="blendshape_dense")
    driver = FakeDriver(sweep_dir, arrays)
    driver.journal.session("started")
    driver.run_trial(0, {"units": [8]}, 2, "finished")
    driver.journal.session("finished")
    driver.journal.close()
    found = promote(sweep_dir)
    x = Task(tiny_dataset).load("test").x[:7]
    np.save(tmp_path / "x.npy", x)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    loaded = load_elsewhere(tmp_path, elsewhere, tmp_path / "x.npy")
    wanted = trainables.restore(Path(found.checkpoint)).predict(x)
    np.testing.assert_allclose(loaded["rows"], wanted, atol=1e-6)
    assert loaded["columns"] == [*arrays.classes, "label"]
    assert loaded["labels"] == [arrays.classes[i] for i in wanted.argmax(axis=1)]
    assert not {"ray", "optuna", "mediapipe", "fersweep.results", "fersweep.cluster"} & set(loaded["modules"])
    assert "fersweep.trainables" in loaded["modules"]
    left, _, right, _ = loaded["box"]
    assert 130 < left < 200 < 240 < right < 320
    assert str(tmp_path) in loaded["code"], "the code that was registered, not this repository's"


@pytest.mark.processes
def test_a_net_of_pixels_loads_without_this_repository(home: Path, new_sweep: NewSweep, tmp_path: Path) -> None:
    sweep_dir, driver = new_sweep("cnn")
    driver.journal.session("started")
    driver.run_trial(0, {"widths": [4, 6], "image_size": 24, "tta": True, "learning_rate": 0.01}, 2, "finished")
    driver.journal.session("finished")
    found = promote(sweep_dir)
    figures, task = found.figures, load_sweep(sweep_dir).sweep.task()
    model, x = trainables.restore(Path(found.checkpoint)), task.load("test").x
    assert figures.detected == figures.all
    assert figures.tta is not None
    assert figures.tta.accuracy.value == (model.predict_tta(x).argmax(1) == task.load("test").y).mean()

    client = connection.connect(addresses.tracking_uri(home))
    metrics = client.get_run(found.run_id).data.metrics
    assert metrics["test_tta_accuracy"] == figures.tta.accuracy.value
    assert metrics["test_accuracy"] == figures.all.accuracy.value, "never mixed up with the plain figures"
    drawn = {file.path for file in client.list_artifacts(found.run_id, "explain")}
    assert drawn == {"explain/feature_maps.png", "explain/grad_cam.png"}
    version = client.get_model_version(MODEL, str(found.version))
    assert "detected" not in version.description
    assert "pixels" in client.get_registered_model(MODEL).description

    np.save(tmp_path / "x.npy", x[:7])
    loaded = load_elsewhere(home, tmp_path, tmp_path / "x.npy")
    wanted = model.predict(x[:7])
    np.testing.assert_allclose(loaded["rows"], wanted, atol=1e-6)
    assert loaded["labels"] == [task.classes[i] for i in wanted.argmax(axis=1)]
    assert not {"ray", "optuna", "tensorflow", "mediapipe", "fersweep.results", "fersweep.cluster"} & set(
        loaded["modules"]
    )
    assert loaded["box"][0] == pytest.approx(170, abs=10)


def test_what_a_model_is_installed_with() -> None:
    def names(trainable: str, **hparams: str) -> set[str]:
        found = requirements({"trainable": trainable, "hparams": hparams})
        names = {one.partition("==")[0] for one in found}
        assert {"mediapipe", "opencv-contrib-python", "pillow"} <= names, "for images"
        return names - {"mlflow", "pandas", "pyarrow", "pydantic", "numpy", *PHOTOS}

    assert names("curve") == set()
    assert names("cnn") == {"torch"}
    assert names("transfer", head="dense") == {"torch", "timm", "torchvision"}
    assert names("transfer", head="trees") == {"torch", "timm", "torchvision", "treelite"}
