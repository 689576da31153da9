"""Any model by one name; and judged on any dataset: other classes, other sizes, a peer's function, an ONNX file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.metrics import accuracy_score, recall_score

from fersweep import trainables
from fersweep.common.errors import InputError
from fersweep.data_pipeline.dataset.manifest import read_manifest, write_manifest
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from fersweep.results.evaluate import page
from fersweep.results.evaluate.model_judgement import judge_model
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.open_model import open_model
from fersweep.results.models.other_process import answers_elsewhere
from tests.datasets import write_tiny_dataset
from tests.sweeps import NewSweep

PEER = """
import numpy as np

def smile(x):
    score = np.clip(x[:, [44, 45]].mean(axis=1), 0, 1)
    return np.stack([score, 1 - score], axis=1)

smile.features, smile.classes = "blendshapes", ["happy", "neutral"]

def flat(faces):
    assert faces.dtype == np.uint8 and faces.shape[1:] == (24, 24), faces.shape
    return np.full((len(faces), 3), 1 / 3)

flat.image_size = (24, 24)

def scores(faces):
    return np.arange(3.0) * np.ones((len(faces), 3))

def short(faces):
    return np.full((3, 3), 1 / 3)

nothing = 3
"""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peer") / "peer.py"
    path.write_text(PEER)
    return path


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another dataset: other classes, three of them known to the models here."""
    names = ("happy", "sad", "fear", "neutral")
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "four", 400, names, seed=3)


def test_a_sweep_a_trial_and_a_checkpoint_are_models(new_sweep: NewSweep, home: Path, tmp_path: Path) -> None:
    sweep_dir, driver = new_sweep()
    driver.run_trial(0, {"rate": 0.1}, 2, "finished")
    driver.run_trial(1, {"rate": 0.5}, 2, "finished")
    name, x = sweep_dir.name, driver.arrays.val.x
    best, first = open_model(name, home), open_model(f"{name}:0", home)
    assert (best.origin.trial, first.origin.trial) == (1, 0)
    assert best.checkpoint is not None
    again = open_model(str(best.checkpoint), home)
    np.testing.assert_array_equal(best.predict(x), again.predict(x))
    assert best.groups == {"happy": ["happy"], "sad": ["sad"], "neutral": ["neutral"]}
    found, latency_s = answers_elsewhere(best.checkpoint, x, timed=3)
    np.testing.assert_allclose(found, best.predict(x))
    assert latency_s is not None
    assert latency_s > 0
    with pytest.raises(InputError, match=f"no model 'nosuch' in .*{name}"):
        open_model("nosuch", home)
    with pytest.raises(InputError, match="no checkpoint"):
        open_model(str(tmp_path / "nowhere"), home)
    with pytest.raises(InputError, match="trial 7; trials: 0 to 1"):
        open_model(f"{name}:7", home)
    with pytest.raises(InputError, match="--data"):
        judge_model(again, home)


def test_judged_on_another_dataset(home: Path, four: Path, tmp_path: Path) -> None:
    """Trained on happy, sad, neutral; judged on happy, sad, fear, neutral: fear is left out, the rest is mapped by name."""
    model = trainables.load("curve").build({}, Task(home / "data" / "tiny").arrays(), 0)
    model.save(tmp_path / "checkpoint")
    opened = open_model(str(tmp_path / "checkpoint"), home)
    judged = judge_model(opened, home, four)
    found = judged.figures
    assert found.split == "test"
    assert found.classes == ["happy", "sad", "neutral"], "the model's classes, in its order"
    assert any("faces of fear, for which the model has no class" in note for note in judged.notes)
    assert any("another dataset" in note for note in judged.notes)
    names = opened.described["feature_names"]
    spec = TaskSpec(classes={name: [name] for name in ("happy", "sad", "neutral")}, blendshapes=names)
    test = Task(four, spec).load("test")
    predicted = opened.predict(test.x).argmax(axis=1)
    assert found.detected.accuracy.value == pytest.approx(accuracy_score(test.y, predicted))
    wrong = np.flatnonzero(predicted != test.y)
    assert {mistake.face_id for mistake in judged.mistakes} == set(test.face_ids[wrong])
    assert [mistake.probability for mistake in judged.mistakes] == sorted(
        (float(judged.probabilities[i].max()) for i in wrong), reverse=True
    )
    assert judged.mistakes[0].source.startswith("tiny:")
    assert "<html" in page.html(judged)


def test_answers_of_classes_that_the_dataset_has_not_are_wrong(four: Path, home: Path) -> None:
    classes = ["surprise", "happy", "fear"]
    given = np.random.default_rng(0).dirichlet([1, 1, 1], 400)
    described = {"feature_names": ["pixels"], "classes": classes}
    model = FaceModel("fixed", described, answer=lambda x: given[: len(x)])
    judged = judge_model(model, home, four)
    found = judged.figures
    task = Task(four, TaskSpec(features="pixels", classes={"happy": ["happy"], "fear": ["fear"]}), learned=False)
    y = np.array([classes.index(task.classes[i]) for i in task.load("test").y])
    predicted = given[: len(y)].argmax(axis=1)
    assert found.classes == ["happy", "fear"]
    assert found.detected.accuracy.value == pytest.approx(accuracy_score(y, predicted))
    recall = recall_score(y, predicted, labels=[1, 2], average=None)
    assert [found.detected.per_class[name].recall for name in ("happy", "fear")] == pytest.approx(recall)
    limited = 1 + given[: len(y), 1:].argmax(axis=1)
    assert found.shared is not None
    assert found.shared.accuracy.value == pytest.approx(accuracy_score(y, limited))
    assert any("test has no faces of surprise" in note for note in judged.notes)
    nothing = FaceModel("fixed", {"feature_names": ["pixels"], "classes": ["disgust"]}, answer=lambda x: x)
    with pytest.raises(InputError, match="no class in common"):
        judge_model(nothing, home, four)


def test_a_peers_function(peer: Path, four: Path, home: Path) -> None:
    smile = open_model(f"{peer}:smile", home)
    x = np.random.default_rng(0).random((5, len(BLENDSHAPES)), np.float32)
    np.testing.assert_allclose(smile.predict(x)[:, 0], x[:, 44:46].mean(axis=1), rtol=1e-6)
    found = judge_model(smile, home, four).figures
    assert found.detected.accuracy.value > 0.5
    assert found.classes == ["happy", "neutral"]
    dataset = home / "data" / "tiny"
    found = judge_model(open_model(f"{peer}:flat", home), home, dataset, "val").figures
    assert found.classes == Task(dataset).classes, "the dataset's, where the function does not say"
    named = judge_model(open_model(f"{peer}:flat", home), home, dataset, classes=["sad", "happy", "neutral"]).figures
    assert named.classes == ["sad", "happy", "neutral"]
    for name, message in (
        ("scores", "rows of which sum to 1"),
        ("short", r"answers with shape \(3, 3\)"),
    ):
        with pytest.raises(InputError, match=message):
            judge_model(open_model(f"{peer}:{name}", home), home, dataset)
    for name, message in (
        ("nothing", "no function but a int"),
        ("nosuch", "cannot be imported .AttributeError"),
    ):
        with pytest.raises(InputError, match=message):
            open_model(f"{peer}:{name}", home)
    with pytest.raises(InputError, match="cannot be imported"):
        open_model("no_such_module:classify", home)


def test_a_model_of_landmarks_is_judged_by_its_own_features(home: Path, tmp_path: Path) -> None:
    data = write_tiny_dataset(tmp_path / "landmarks", landmarks=True)
    names = ["landmark61y", "jawOpen"]  # in the model's order, not the task's
    low = {"border": 0.25, "size": 160, "image_size": [48, 48]}  # of a checkpoint that knows of no views
    seen: list[np.ndarray] = []

    def answer(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return np.eye(3)[np.digitize(x[:, 0], np.quantile(x[:, 0], (1 / 3, 2 / 3)))]

    described = {"feature_names": names, "classes": ["happy", "sad", "neutral"], "preprocessing": low}
    model = FaceModel("corner", described, answer=answer)
    assert model.features == "blendshapes+landmarks"
    judged = judge_model(model, home, data)
    assert judged.figures.detected.accuracy.value > 0.7, "the corner of the mouth moves with the class"
    assert seen[0].shape[1] == 2
    assert judged.notes[:2] == [
        "MediaPipe was shown the faces with size 192, the model learned from 160",
        "MediaPipe was shown the faces with views 4, the model learned from 1",
    ]
    with pytest.raises(InputError, match="has no landmarks; prepare it with --landmarks"):
        judge_model(model, home, home / "data" / "tiny")
    ready = write_tiny_dataset(tmp_path / "ready", pixels=False)
    write_manifest(ready, {**read_manifest(ready), "landmarks": None})
    scored = FaceModel("jaw", {**described, "feature_names": names[1:]}, answer=answer)
    assert "ready-made" in judge_model(scored, home, ready).notes[0]
    assert not judge_model(scored, home, home / "data" / "tiny", split="val").notes[1:]


def linear_onnx(path: Path, shape: list, kind: int, classes: str | None = None) -> None:
    """A net that flattens its input and adds it up in three ways, to logits."""
    size = int(np.prod([one for one in shape[1:] if isinstance(one, int)]))
    weights = np.random.default_rng(0).normal(size=(size, 3)).astype(np.float32) / size
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], 3])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if classes:
        helper.set_model_props(model, {"classes": classes})
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (["n", 48, 48], TensorProto.UINT8),
        (["n", 1, 24, 24], TensorProto.FLOAT),
        ([1, 24, 24, 1], TensorProto.DOUBLE),
        ([4, 3, 48, 48], TensorProto.FLOAT),
        (["n", 52], TensorProto.FLOAT),
    ],
)
def test_an_onnx_file_of_anybodys(shape: list, kind: int, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "peer.onnx"
    linear_onnx(path, shape, kind, '["sad", "neutral", "happy"]')
    model = open_model(str(path), home)
    assert model.features == ("blendshapes" if len(shape) == 2 else "pixels")
    found = judge_model(model, home, home / "data" / "tiny").figures
    assert found.classes == ["sad", "neutral", "happy"]
    weights = onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    x = np.random.default_rng(1).integers(0, 256, (5, *[one for one in shape[1:] if one not in (1, 3)]))
    x = x.astype(np.uint8) if len(shape) > 2 else (x / 255).astype(np.float32)
    flat = x.reshape(5, -1).astype(np.float64)
    logits = (np.tile(flat, 3) if 3 in shape else flat) @ weights
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(x), wanted, atol=1e-4)


def test_what_is_no_onnx_model_of_faces(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_model(str(tmp_path / "none.onnx"), home)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(InputError, match="cannot be used as a model"):
        open_model(str(tmp_path / "text.onnx"), home)
    linear_onnx(tmp_path / "narrow.onnx", ["n", 7], TensorProto.FLOAT)
    with pytest.raises(InputError, match="wants 7 features a face"):
        open_model(str(tmp_path / "narrow.onnx"), home)
    linear_onnx(tmp_path / "words.onnx", ["n", 52], TensorProto.INT64)
    with pytest.raises(InputError, match="one input of"):
        open_model(str(tmp_path / "words.onnx"), home)
