"""Files of the short form: what they may say, what is refused, and what their nets are given. test_conformance.py and
tests/results/models/test_export.py have tests/own_models as entries, too.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate.explanations import draw_explanations
from fersweep.trainables.protocol import TrialFailed
from fersweep.trainables.saved_model import read_model
from fersweep.trainables.short_form.adapted import adapted
from fersweep.trainables.torch_training import device as devices
from tests.own_models import torch_pixels

pytestmark = pytest.mark.slow

SPACE = """
def space(trial):
    return {"width": trial.suggest_int("width", 4, 8), "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2)}
"""
CONV = """
import torch
from torch import nn

def net(hparams, image_size, num_classes):
    width = hparams["width"]
    return nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
"""
DENSE = """
from torch import nn

def net(hparams, num_features, num_classes):
    return nn.Sequential(nn.Linear(num_features, hparams["width"]), nn.ReLU(), nn.Linear(hparams["width"], num_classes))
"""
KERAS = """
import keras

def net(hparams, num_features, num_classes):
    return keras.Sequential([keras.layers.Dense(hparams["width"], "relu"), keras.layers.Dense(num_classes)])
"""


def module(text: str) -> ModuleType:
    made = ModuleType("file")
    exec(compile(textwrap.dedent(text), "file.py", "exec"), made.__dict__)
    return made


def of(text: str, framework: str = "torch") -> Any:
    return adapted("file.py", module(text if "def space" in text else SPACE + text), framework)


@pytest.fixture(scope="module")
def pixels(tiny_dataset: Path) -> TaskArrays:
    return Task(tiny_dataset, TaskSpec(features="pixels")).arrays()


@pytest.fixture(scope="module")
def scores(tiny_dataset: Path) -> TaskArrays:
    return Task(tiny_dataset, TaskSpec()).arrays()


def test_what_a_net_sees_is_said_by_its_parameters() -> None:
    conv, dense, in_keras = of(CONV), of(DENSE), of(KERAS, "tensorflow")
    assert (conv.FEATURES, conv.FRAMEWORK, conv.POINTS) == (("pixels",), "torch", {})
    assert dense.FEATURES == in_keras.FEATURES == ("blendshapes", "landmarks", "blendshapes+landmarks")
    assert {"rotation", "mixup", "image_size", "tta"} <= conv.Hparams.model_fields.keys()
    assert not {"layer_decay", "freeze", "head_dropout"} & conv.Hparams.model_fields.keys()
    assert not {"rotation", "mixup", "image_size", "tta"} & dense.Hparams.model_fields.keys()
    assert not {"dropout", "l2", "initializer"} & in_keras.Hparams.model_fields.keys(), "which our own nets alone have"
    assert not hasattr(conv, "fetch")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net = 3", "file.py: it has no net: want net"),
        ("def net(hparams, num_classes): ...", r"file.py: net\(hparams, num_classes\): want"),
        ("def net(hparams, image_size, num_features, num_classes): ...", "want net"),
        ("def net(hparams, image_size, num_classes, size): ...", "it may ask for pretrained and feature_names"),
        (CONV + "\nspace = None", r"file.py: it has no space\(trial\)"),
        (CONV + "\ndef space(trial): return [1]", "want a dict of hparams by name"),
        (CONV + "\ndef space(trial): return trial.nothing", "no point can be drawn: AttributeError"),
        (CONV + "\nHPARAMS = {'width': 1, 'learning_rate': -1.0}", "HPARAMS: learning_rate: Input should be greater"),
        (CONV + "\nHPARAMS = [1]", "HPARAMS: want a dict"),
        (CONV + "\nHPARAMS = {'act': nn.ReLU}", "act = .* cannot be written down"),
        (CONV + "\nHPARAMS = {'copy': 1}", "'copy' cannot be an hparam's name"),
        (CONV + "\nCHANNELS = 2", "CHANNELS is the number"),
        (CONV + "\nCHANNELS = 3\nMEAN = [0.5] * 3", "MEAN and STD belong together"),
        (CONV + "\nMEAN = 127.5\nSTD = 127.5", r"one number in \[0, 1\]"),
    ],
)
def test_files_that_are_none_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        of(text)
    assert "\n" not in str(refused.value)


def test_hparams_are_the_loops_and_the_files() -> None:
    text = CONV + textwrap.dedent("""
        HPARAMS = {"kind": "plain", "optimizer": "adamw", "sizes": (8, 4)}
        def space(trial):
            hparams = {"width": trial.suggest_int("width", 4, 8), "momentum": 0.5, "model_rate": trial.suggest_float("r", 0, 1)}
            if trial.suggest_categorical("deep", [False, True]):
                hparams["depth"] = trial.suggest_int("depth", 2, 4)
            return hparams
    """)
    hparams = of(text).Hparams
    made = hparams(width=4, model_rate=1)
    assert (made.optimizer, made.momentum, made.kind, made.sizes, made.depth) == ("adamw", 0.9, "plain", [8, 4], None)
    for wrong in (
        {"widht": 4},
        {"width": 4.5},
        {"width": "4"},
        {"width": None},
        {"momentum": 2.0},
        {"kind": 3},
        {"rotation": 999},
    ):
        with pytest.raises(ValidationError):
            hparams(**{"width": 4, "model_rate": 0.5, **wrong})
    with pytest.raises(ValidationError, match="width"):
        hparams(model_rate=0.5)
    assert hparams(**made.model_dump(mode="json")) == made, "as model.json has them"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('return nn.Linear(1, hparams["widht"])', r"file.py: net: KeyError|file.py:\d+: net: KeyError: 'widht'"),
        ("return 3", "returns a torch.nn.Module, but got int"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(7, num_classes))", r"net, given \(3, 1, 48, 48\): RuntimeError: .*mat1"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(2304, 9))", r"logits of shape \(3, 3\), faces × classes, but got \(3, 9\)"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(2304, num_classes).double())", "same dtype, but got Float and Double"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(2304, num_classes).requires_grad_(False))", "no weight learns"),
        ("return nn.Flatten(0)", r"logits of shape"),
        ("class Squeezing(nn.Module):\n        def __init__(self):\n            super().__init__(); self.a = nn.Linear(2304, num_classes)\n"
         "        def forward(self, x): return self.a(x.flatten(1)).squeeze()\n    return Squeezing()", "for one face"),
        ("class Two(nn.Module):\n        def __init__(self):\n            super().__init__(); self.a = nn.Linear(2304, num_classes)\n"
         "        def forward(self, x): return (self.a(x.flatten(1)),) * 2 if self.training else self.a(x.flatten(1))\n    return Two()",
         "returns in training a tensor of logits, but got tuple"),
        ("class Nan(nn.Module):\n        def __init__(self):\n            super().__init__(); self.a = nn.Linear(2304, num_classes)\n"
         "        def forward(self, x): return self.a(x.flatten(1)).log()\n    return Nan()", "NaN or infinity"),
    ],
)  # fmt: skip
def test_nets_that_cannot_be_trained_are_refused_in_one_line(body: str, message: str, pixels: TaskArrays) -> None:
    text = f"from torch import nn\ndef net(hparams, image_size, num_classes):\n    hparams['width']\n    {body}\n"
    with pytest.raises(ValueError, match=message) as refused:
        of(text).build({"width": 4}, pixels, 0)
    assert "\n" not in str(refused.value)


def test_probabilities_and_names_that_nobody_reads_are_said(pixels: TaskArrays, scores: TaskArrays) -> None:
    with pytest.warns(UserWarning, match=r"file.py: net seems to return probabilities"):
        of(CONV.replace("num_classes))", "num_classes), nn.Softmax(1))")).build({"width": 4}, pixels, 0)
    text = DENSE + "\ndef space(trial): return {'width': 4, 'learning_rte': trial.suggest_float('lr', 0, 1)}"
    with pytest.warns(UserWarning, match="does not read 'learning_rte', .* did you mean 'learning_rate'"):
        of(text).build({"width": 4, "learning_rte": 0.1}, scores, 0)
    with pytest.warns(UserWarning, match="seems to return probabilities"):
        of(KERAS.replace("(num_classes)", "(num_classes, 'softmax')"), "tensorflow").build({"width": 4}, scores, 0)


def test_keras_nets_that_cannot_be_trained_are_refused_in_one_line(scores: TaskArrays) -> None:
    for last, message in (
        ("keras.layers.Dense(9)", r"logits of shape \(3, 3\), faces × classes, but got \(3, 9\)"),
        ("keras.layers.Dense(num_classes, dtype='float16')", "float32"),
        ("keras.layers.Conv2D(3, 3)", "net, given .* ValueError"),
    ):
        with pytest.raises(ValueError, match=message) as refused:
            of(KERAS.replace("keras.layers.Dense(num_classes)", last), "tensorflow").build({"width": 4}, scores, 0)
        assert "\n" not in str(refused.value)


def test_it_learns_what_the_faces_show(pixels: TaskArrays, scores: TaskArrays) -> None:
    how: dict[str, Any] = {"width": 16, "learning_rate": 1e-2, "batch_size": 32}
    assert of(DENSE).build(how, scores, 0).fit(8)[-1]["val_macro_f1"] > 0.5  # always guessing the majority gives 0.18
    conv = CONV.replace("AdaptiveAvgPool2d(1)", "AdaptiveAvgPool2d(4)").replace("nn.Linear(width,", "nn.LazyLinear(")
    assert of(conv).build({**how, "flip": False}, pixels, 0).fit(8)[-1]["val_macro_f1"] > 0.5
    assert of(KERAS, "tensorflow").build({**how, "standardise": True}, scores, 0).fit(8)[-1]["val_macro_f1"] > 0.5


def test_what_is_frozen_stays_and_costs_no_state(pixels: TaskArrays) -> None:
    model: Any = adapted("torch_pixels.py", torch_pixels, "torch").build(
        {"kind": "plain", "learning_rate": 1e-2}, pixels, 0
    )
    before = {name: value.clone() for name, value in model.training.net.state_dict().items()}
    model.fit(1)
    moved = {name for name, value in model.training.net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert not [name for name in moved if "backbone" in name], "neither weights nor batch statistics"
    assert {"own.features.1.running_mean", "own.steps", "own.hidden.weight"} <= moved
    learned = [p for p in model.training.net.parameters() if p.requires_grad]
    assert len(model.training.optimizer.state) == len(learned) == 8


def test_an_average_of_a_net_with_counters_and_tied_weights(pixels: TaskArrays) -> None:
    """With a decay of 0 it is the net itself: a weight of two names is averaged once."""
    hparams = {"kind": "plain", "learning_rate": 1e-2}
    plain, averaged = (adapted("torch_pixels.py", torch_pixels, "torch").build({**hparams, **more}, pixels, 0)
                       for more in ({}, {"ema_decay": 0.0}))  # fmt: skip
    plain.fit(1), averaged.fit(1)
    np.testing.assert_allclose(plain.predict(pixels.val.x), averaged.predict(pixels.val.x), atol=1e-5)
    slow: Any = adapted("torch_pixels.py", torch_pixels, "torch").build({**hparams, "ema_decay": 0.9}, pixels, 0)
    slow.fit(1)
    average = slow.training.average
    assert int(average.net.own.steps) == int(slow.training.net.own.steps) > 0
    assert average.net.own.hidden.weight is average.net.own.again.weight


def test_channels_are_normalised_each_on_its_own(pixels: TaskArrays) -> None:
    text = (
        CONV.replace("nn.Conv2d(1,", "nn.Conv2d(3,") + "\nCHANNELS = 3\nMEAN = [0.2, 0.5, 0.6]\nSTD = [0.1, 0.2, 0.3]"
    )
    model = of(text).build({"width": 4}, pixels, 0)
    seen: list[torch.Tensor] = []
    model.training.net.own.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.predict(pixels.val.x[:2])
    gray = torch.from_numpy(pixels.val.x[:2].copy())[:, None].float() / 255
    wanted = (gray - torch.tensor([0.2, 0.5, 0.6])[:, None, None]) / torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    torch.testing.assert_close(seen[0], wanted, atol=1e-4, rtol=1e-4)

    text = text.replace("import torch\nfrom torch import nn", "import keras")[: text.index("def net")]
    in_keras = KERAS.replace("num_features", "image_size").replace(
        "Sequential([", "Sequential([keras.layers.Flatten(), "
    )
    model = of(f"{in_keras}\nCHANNELS = 3\nMEAN = [0.2, 0.5, 0.6]\nSTD = [0.1, 0.2, 0.3]", "tensorflow").build(
        {"width": 4}, pixels, 0
    )
    np.testing.assert_allclose(
        np.asarray(model.seen(pixels.val.x[:2])), wanted.permute(0, 2, 3, 1).numpy(), atol=1e-4, rtol=1e-4
    )


def test_pretrained_weights_are_asked_for_once_and_not_to_restore(scores: TaskArrays, tmp_path: Path) -> None:
    text = DENSE.replace(
        "num_classes):", "num_classes, pretrained, feature_names):\n    asked.append((pretrained, feature_names))"
    )
    file = module(SPACE + "\nasked = []\n" + text)
    trainable = adapted("file.py", file, "torch")
    trainable.build({"width": 4}, scores, 0).save(tmp_path)
    trainable.restore(tmp_path)
    assert file.asked == [(True, scores.feature_names), (False, scores.feature_names)]
    assert read_model(tmp_path)["trainable"] == "file.py"


def test_what_fails_a_trial(pixels: TaskArrays, scores: TaskArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"width": 4, "learning_rate": 1e30, "optimizer": "sgd"}
    with pytest.raises(TrialFailed, match=r"nan|inf"):
        of(DENSE).build(how, scores, 0).fit(5)
    with pytest.raises(TrialFailed, match=r"nan|inf"):
        of(KERAS, "tensorflow").build(how, scores, 0).fit(5)
    model = of(DENSE).build({"width": 4}, scores, 0)

    def too_big(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(model.training, "step", too_big)
    with pytest.raises(TrialFailed, match="out of memory: batch_size 64"):
        model.fit(1)
    monkeypatch.setattr(nn.Linear, "forward", too_big)
    with pytest.raises(TrialFailed, match="out of memory: the net and its faces"):
        of(DENSE).build({"width": 4}, scores, 0)
    monkeypatch.undo()
    monkeypatch.setattr(devices, "memory_bytes", lambda: 10)
    with pytest.raises(
        TrialFailed, match=r"out of memory: one batch .* lower batch_size \(auto finds one that fits\), or"
    ):
        of(DENSE).build({"width": 4, "batch_size": "auto"}, scores, 0)


def test_what_it_looks_at(tiny_dataset: Path, pixels: TaskArrays, scores: TaskArrays, tmp_path: Path) -> None:
    deep = CONV.replace("nn.AdaptiveAvgPool2d(1)", "nn.Conv2d(width, width, 3, 2, 1), nn.AdaptiveAvgPool2d(1)")
    model = of(deep).build({"width": 4}, pixels, 0)
    maps = model.feature_maps(pixels.val.x[0])
    assert [(name, values.shape) for name, values in maps] == [("2", (4, 24, 24)), ("3", (4, 12, 12))]
    assert model.grad_cam(pixels.val.x[:3], pixels.val.y[:3]).shape == (3, 48, 48)
    task = Task(tiny_dataset, TaskSpec(features="pixels"))
    assert {path.name for path in draw_explanations(model, task, tmp_path)} == {"feature_maps.png", "grad_cam.png"}
    flat = "from torch import nn\ndef net(hparams, image_size, num_classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(2304, 3))"
    model = of(flat.replace("    return", "    hparams['width']\n    return")).build({"width": 4}, pixels, 0)
    assert draw_explanations(model, task, tmp_path) == []
    assert not hasattr(of(DENSE).build({"width": 4}, scores, 0), "feature_maps")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_logits_are_float32_in_any_precision(precision: str, scores: TaskArrays) -> None:
    """bfloat16's 8 bits would tie classes."""
    model = of(DENSE).build({"width": 4, "precision": precision}, scores, 0)
    answers = model.predict(scores.val.x)
    assert not np.array_equal(answers, torch.from_numpy(answers).bfloat16().float().numpy())
    with torch.autocast("cpu", torch.bfloat16):
        assert model.training.net(torch.zeros(2, len(scores.feature_names))).dtype == torch.float32


def test_a_keras_model_of_ones_own_class_is_exported_as_tflite_alone(scores: TaskArrays, tmp_path: Path) -> None:
    text = """
        import keras
        class Mine(keras.Model):
            def __init__(self, width, num_classes):
                super().__init__()
                self.hidden, self.last = keras.layers.Dense(width, "relu"), keras.layers.Dense(num_classes)
            def call(self, x):
                return self.last(self.hidden(x))
        def net(hparams, num_features, num_classes):
            return Mine(hparams["width"], num_classes)
    """
    trainable = of(SPACE + textwrap.dedent(text), "tensorflow")
    model = trainable.build({"width": 4, "ema_momentum": 0.5}, scores, 0)
    assert model.EXPORTS == (".tflite",)
    model.fit(2), model.save(tmp_path)
    np.testing.assert_array_equal(trainable.restore(tmp_path).predict(scores.val.x), model.predict(scores.val.x))
