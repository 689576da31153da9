"""Every trainable in every format that it can be exported in: the file alone answers as the model does."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.models.export import BATCHES, TOLERANCE, export, typical_inputs
from fersweep.results.models.open_model import open_model
from fersweep.trainables import ensemble
from fersweep.trainables.exports.formats import FORMATS, open_exported
from fersweep.trainables.saved_model import read_model
from tests.datasets import write_tiny_dataset
from tests.trainables.test_conformance import HPARAMS

pytestmark = pytest.mark.slow

CASES = [(name, hparams) for name, many in HPARAMS.items() if name != "faulty_curve" for hparams in many]
FEW = ["jawOpen", "landmark61y", "mouthSmileLeft"]  # steps, which are unrolled
BOTH = TaskSpec(features="blendshapes+landmarks")


@pytest.fixture(scope="module")
def few(home: Path) -> TaskArrays:
    return Task(write_tiny_dataset(home / "data" / "few", landmarks=True), BOTH, feature_names=FEW).arrays()


def shake(checkpoint: Path) -> None:
    """Change all weights and statistics at random, so that each counts, and averaged ones are unlike the others."""
    with np.load(checkpoint / "state.npz") as archive:
        state = dict(archive)
    rng = np.random.default_rng(0)
    for name, value in state.items():
        noise = rng.normal(size=value.shape).astype(np.float32)
        if value.dtype == np.float32 and value.ndim > 1:
            state[name] = value + noise * 1.5 / np.sqrt(value[0].size)
        elif value.dtype == np.float32 and value.ndim == 1:  # among them variances, which are positive
            state[name] = value * np.exp(0.3 * noise) + 0.05 * np.abs(noise)
    np.savez(checkpoint / "state.npz", **state)


@pytest.mark.parametrize(("name", "hparams"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_a_file_answers_as_its_model(
    name: str, hparams: dict, few: TaskArrays, pixels: TaskArrays, tmp_path: Path
) -> None:
    module, checkpoint = trainables.load(name), tmp_path / "checkpoint"
    learned = pixels if "pixels" in (module.FEATURES or ()) else few
    built = module.build(hparams, learned, 3)
    formats = getattr(built, "EXPORTS", ())
    if not formats:
        built.fit(1)
    built.save(checkpoint)
    shake(checkpoint)
    model = trainables.restore(checkpoint)
    assert bool(formats) == (name != "curve" and hparams.get("head") != "trees")
    for suffix in FORMATS:
        path = tmp_path / f"model{suffix}"
        if suffix not in formats:
            with pytest.raises(InputError, match=", not as" if formats else "cannot be exported"):
                export(str(checkpoint), path, tmp_path)
            continue
        exported = export(str(checkpoint), path, tmp_path)
        assert (exported.rows, exported.bytes) == (sum(BATCHES), path.stat().st_size)
        assert exported.difference <= TOLERANCE
        answered = ReadAlone(path) if suffix == ".onnx" else open_exported(path)
        wanted = model.predict_exactly(learned.val.x)
        assert wanted.std(axis=0).max() > 1e-3, "answers that vary"
        for num in (1, 7, len(wanted)):
            np.testing.assert_allclose(answered.predict(learned.val.x[:num]), wanted[:num], atol=1e-5)
        for key in ("classes", "feature_names", "preprocessing", "trainable"):
            assert answered.model[key] == model.model[key]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", *(f"model{suffix}" for suffix in formats)}
    if module.FRAMEWORK == "torch" and formats:
        operators = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
        convolutions = sum("Conv2d" in str(type(part).__mro__) for part in model.training.net.modules())
        assert operators.count("Conv") == convolutions, "those made quick for a CPU are exported as plain ones"
        assert not {"ReduceSum", "BatchNormalization", "Dropout"} & set(operators)


class ReadAlone:
    """An .onnx file in onnxruntime, with nothing of ours in between."""

    def __init__(self, path: Path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.model = {k: json.loads(v) for k, v in self.session.get_modelmeta().custom_metadata_map.items()}

    def predict(self, x: np.ndarray) -> Any:
        return self.session.run(["probabilities"], {self.session.get_inputs()[0].name: x})[0]


def test_a_file_that_answers_otherwise_is_not_kept(
    arrays: TaskArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = trainables.load("blendshape_dense")
    built = module.build({"units": [4]}, arrays, 0)
    built.save(tmp_path / "checkpoint")
    path = tmp_path / "model.onnx"
    path.write_text("what was there")
    monkeypatch.setattr("fersweep.trainables.exports.keras_onnx.LOGIT_CLIP", (0.1, 0.2))
    export(str(tmp_path / "checkpoint"), path, tmp_path)
    assert open_model(str(path), tmp_path).classes == arrays.classes

    module.build({"units": [4], "transform": "logit"}, arrays, 0).save(tmp_path / "logit")
    kept = path.read_bytes()
    with pytest.raises(RuntimeError, match=r"model.onnx is not written: its answers are up to 0\.\d+ from"):
        export(str(tmp_path / "logit"), path, tmp_path)
    assert path.read_bytes() == kept
    assert {one.name for one in tmp_path.iterdir()} == {"checkpoint", "logit", "model.onnx"}


def test_what_cannot_be_exported_or_opened(arrays: TaskArrays, tmp_path: Path) -> None:
    trainables.load("curve").build({}, arrays, 0).save(tmp_path / "checkpoint")
    for out, message in (
        ("model.pdf", r"--out .*model.pdf: the name must end in \.onnx, \.tflite, \.keras, \.safetensors"),
        ("nowhere/model.onnx", "there is no directory"),
    ):
        with pytest.raises(InputError, match=message):
            export(str(tmp_path / "checkpoint"), tmp_path / out, tmp_path)
    for suffix in (".tflite", ".keras", ".safetensors"):
        path = tmp_path / f"model{suffix}"
        with pytest.raises(InputError, match="no such file"):
            open_exported(path)
        path.write_text("nothing of ours")
        with pytest.raises(InputError, match=str(path)):
            open_exported(path)


def test_typical_inputs_reach_the_ends() -> None:
    scores = typical_inputs({"feature_names": ["a", "b", "c"]}, 200)
    assert (scores.min(), scores.max(), scores.dtype, scores.shape) == (0, 1, np.float32, (200, 3))
    statistics = {"mean": np.float32([9, 0.3]), "std": np.float32([9, 0.01])}
    both = typical_inputs({"feature_names": ["jawOpen", "landmark61x"]}, 200, statistics)
    np.testing.assert_allclose(both[:, 1].mean(), 0.3, atol=0.003)
    assert both[:, 0].max() == 1
    faces = typical_inputs({"feature_names": ["pixels"], "preprocessing": {"image_size": [8, 9]}}, 20)
    assert (faces.min(), faces.max(), faces.dtype, faces.shape) == (0, 255, np.uint8, (20, 8, 9))


@pytest.mark.parametrize("sees", ["both", "numbers"])
def test_an_ensemble_in_one_file(sees: str, few: TaskArrays, pixels: TaskArrays, home: Path, tmp_path: Path) -> None:
    """Members of other inputs, in one graph; a face without numbers is answered by those that see pixels."""
    learned = [dataclasses.replace(few, fingerprint=pixels.fingerprint), pixels] if sees == "both" else [few, few]
    for index, (name, arrays) in enumerate(zip(["blendshape_dense", "pixel_mlp"], learned, strict=True)):
        name = name if sees == "both" else "blendshape_dense"
        trainables.load(name).build({"units": [4 + index]}, arrays, index).save(tmp_path / str(index))
        shake(tmp_path / str(index))
    members = [tmp_path / "0", tmp_path / "1"]
    models = [{**read_model(path), "preprocessing": pixels.preprocessing, "groups": pixels.groups} for path in members]
    ensemble.write(tmp_path / "all", members, ensemble.joined(models, [3.0, 1.0], ["a:0", "b:1"]))
    exported = export(str(tmp_path / "all"), tmp_path / "all.onnx", tmp_path)
    assert exported.difference <= TOLERANCE
    assert (exported.input.more is not None) == (sees == "both")
    model, opened = open_model(str(tmp_path / "all"), tmp_path), open_model(str(tmp_path / "all.onnx"), tmp_path)
    x = typical_inputs(model.described, 40)
    np.testing.assert_allclose(opened.predict(x), model.predict(x), atol=TOLERANCE)
    if sees == "both":
        assert np.isnan(x["features"]).any()
        session = onnxruntime.InferenceSession(tmp_path / "all.onnx", providers=["CPUExecutionProvider"])
        alone = session.run(None, {"faces": x["pixels"], "features": x["features"]})[0]
        np.testing.assert_allclose(alone, model.predict(x), atol=TOLERANCE)
        assert opened.described["feature_names"] == ["pixels", *FEW]
    with pytest.raises(InputError, match=r"an ensemble is exported as \.onnx, not as \.tflite"):
        export(str(tmp_path / "all"), tmp_path / "all.tflite", tmp_path)
    described = json.loads((tmp_path / "all" / "model.json").read_text())
    (tmp_path / "all" / "model.json").write_text(json.dumps({**described, "members": described["members"][:1]}))
    with pytest.raises(InputError, match="members are not those that are there"):
        trainables.restore(tmp_path / "all")
    with pytest.raises(InputError, match="must have the same fingerprint"):
        ensemble.joined([models[0], {**models[1], "fingerprint": "another"}])
