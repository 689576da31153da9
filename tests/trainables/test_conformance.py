"""What every trainable must do, whatever it is made of."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from pydantic import ValidationError

from fersweep import search_spaces, trainables
from fersweep.cluster.worker import costs
from fersweep.data_pipeline.tasks import node_arrays
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.data_pipeline.vocabulary import BLENDSHAPES
from fersweep.trainables.metrics import FOLD_METRICS, fold_values
from fersweep.trainables.protocol import METRICS, TrialFailed
from tests.datasets import write_tiny_dataset
from tests.processes import ROOT

pytestmark = pytest.mark.slow

# Small models, and every part that has a state of its own: dropout's seeds, averaged weights, moments, schedules.
KNOWN = set(trainables.NAMES | trainables.more())
HPARAMS: dict[str, list[dict[str, Any]]] = {
    "curve": [{"top": 0.9, "rate": 0.2, "noise": 0.05}],
    "faulty_curve": [{"top": 0.9, "rate": 0.2, "noise": 0.05}],
    "blendshape_dense": [
        {"units": [8], "dropout": 0.3, "ema_momentum": 0.9, "batch_norm": True, "schedule": "cosine", "optimizer": "adamw",
         "weight_decay": 1e-3, "class_weights": 0.5, "transform": "logit", "activation": "gelu", "label_smoothing": 0.1, "standardise": True, "learning_rate": 1e-2},
    ],
    "blendshape_lstm": [
        {"units": [6, 4], "dropout": 0.2, "clipnorm": 1.0, "amsgrad": True, "l2": 1e-4,
         "learning_rate": 1e-2, "standardise": True},
        {"units": [4], "layout": "steps", "recurrent_dropout": 0.2, "optimizer": "rmsprop", "initializer": "uniform", "activation": "selu",
         "bidirectional": True},
    ],
    "pixel_mlp": [
        {"units": [8], "batch_norm": True, "dropout": 0.2, "l2": 1e-4, "optimizer": "sgd", "schedule": "plateau", "plateau_patience": 1,
         "image_size": 24, "label_smoothing": 0.1, "sampling": "balanced", "precision": "fp16", "ema_decay": 0.9, "clipnorm": 1.0},
    ],
    "cnn": [
        {"widths": [4, 6], "precision": "bf16", "ema_decay": 0.9, "residual": True, "attention": "cbam", "conv_dropout": 0.2, "optimizer": "adamw",
         "weight_decay": 1e-2, "schedule": "one_cycle", "schedule_epochs": 5, "rotation": 10, "zoom": 0.1, "shift": 0.1, "shear": 5, "crop": 0.1,
         "brightness": 0.1, "contrast": 0.1, "erasing": 0.5, "mixup": 0.4, "cutmix": 0.4, "class_weights": 0.5, "clipnorm": 1.0, "tta": True,
         "head_units": [8], "head_dropout": 0.2, "head_batch_norm": True, "head_l2": 1e-3, "learning_rate": 1e-2, "layer_decay": 0.8},
        {"widths": [4, 6, 8], "kernels": [3, 5, 3], "pooling": "stride", "attention": "se", "sam_rho": 0.05, "loss": "focal", "freeze": "gradual",
         "freeze_epochs": 1, "schedule": "cosine", "schedule_epochs": 5, "warmup_epochs": 1, "batch_size": "auto", "soft_labels": True,
         "head_pooling": "both", "convs_per_stage": 2, "activation": "silu", "precision": "bf16", "ema_decay": 0.9},
    ],
    "transfer": [
        {"backbone": "mobilenetv3_small_100", "weights": "none", "image_size": 32, "precision": "bf16", "ema_decay": 0.9, "freeze": "head_first",
         "freeze_epochs": 1, "head_units": [8], "head_dropout": [0.1, 0.2], "drop_path": 0.1, "rotation": 10},
        {"backbone": "mobilenetv3_small_100", "weights": "none", "image_size": 32, "head": "trees", "trees_per_epoch": 2, "tree_leaves": 4},
    ],
    "own_torch_pixels": [
        {"kind": "dropout", "rate": 0.3, "image_size": 32, "ema_decay": 0.9, "rotation": 10, "mixup": 0.4, "erasing": 0.5, "sam_rho": 0.05, "tta": True,
         "schedule": "one_cycle", "schedule_epochs": 5, "clipnorm": 1.0, "precision": "bf16", "batch_size": "auto", "weight_decay": 1e-2},
        {"kind": "plain", "optimizer": "sgd", "precision": "fp16", "schedule": "plateau", "plateau_patience": 1, "sampling": "balanced", "loss": "focal"},
    ],
    "own_torch_features": [
        {"width": 4, "ema_decay": 0.9, "transform": "logit", "schedule": "cosine", "schedule_epochs": 5, "class_weights": 0.5, "label_smoothing": 0.1,
         "learning_rate": 1e-2, "precision": "bf16"},
        {"width": 4, "standardise": False, "sam_rho": 0.05, "optimizer": "adamw", "warmup_epochs": 1, "soft_labels": True},
    ],
    "own_keras_features": [
        {"units": [8, 4], "dropout": 0.3, "ema_momentum": 0.9, "transform": "logit", "standardise": True, "schedule": "cosine", "optimizer": "adamw",
         "weight_decay": 1e-3, "class_weights": 0.5, "label_smoothing": 0.1, "learning_rate": 1e-2},
    ],
    "own_keras_pixels": [{"ema_momentum": 0.9, "optimizer": "sgd", "learning_rate": 1e-2, "batch_size": 32}, {"filters": 4}],
}  # fmt: skip
GO_ON = """
import json, sys
from pathlib import Path
from fersweep import trainables
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task

dataset, name, hparams, checkpoint = sys.argv[1:]
model = trainables.load(name).build(json.loads(hparams), Task(Path(dataset), TaskSpec()).arrays(), seed=5)
model.load(Path(checkpoint))
print(json.dumps(model.fit(3)))
"""
CASES = [
    pytest.param(name, hparams, features, id=f"{name}-{i}" + f"-{features}" * ("+" in features))
    for name, many in HPARAMS.items()
    for i, hparams in enumerate(many)
    for features in (trainables.load(name).FEATURES or ("blendshapes",))
    if "landmarks" not in features or (features != "landmarks" and name in ("blendshape_dense", "own_torch_features"))
]
CASES += [
    pytest.param("curve", HPARAMS["curve"][0], "folds", id="curve-folds"),
    pytest.param("pixel_mlp", HPARAMS["pixel_mlp"][0], "pixels-folds", id="pixel_mlp-folds"),
]


def mapped(task: Task) -> TaskArrays:
    """Arrays of files that nothing can write to, as workers have those of a large dataset. GO_ON has the same in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node_arrays, "SENT_BYTES", 0)
        return node_arrays.load(task)


@pytest.fixture(scope="module")
def blendshapes(tiny_dataset: Path) -> TaskArrays:
    return mapped(Task(tiny_dataset, TaskSpec()))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> TaskArrays:
    dataset = write_tiny_dataset(tmp_path_factory.mktemp("data") / "landmarks", landmarks=True)
    return mapped(Task(dataset, TaskSpec(features="blendshapes+landmarks")))


@pytest.fixture(scope="module")
def pixels(tiny_dataset: Path) -> TaskArrays:
    return mapped(Task(tiny_dataset, TaskSpec(features="pixels")))


@pytest.fixture(scope="module")
def of_folds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TaskArrays]:
    """Of features: arrays of `task.fold: all`; blendshapes of which each fold chooses its own."""
    dataset = write_tiny_dataset(tmp_path_factory.mktemp("data") / "folds", 180, folds=3)

    def arrays(features: str) -> TaskArrays:
        spec = {"features": "pixels"} if features == "pixels-folds" else {"informative": 12}
        return mapped(Task(dataset, TaskSpec.model_validate({"fold": "all", **spec})))

    return arrays


@pytest.fixture
def arrays(request: pytest.FixtureRequest) -> TaskArrays:
    """What the trainable under test learns from."""
    callspec = getattr(request.node, "callspec", None)
    features = callspec.params.get("features", "blendshapes") if callspec else "blendshapes"
    if "folds" in features:
        return request.getfixturevalue("of_folds")(features)
    return request.getfixturevalue("both" if "+" in features else features)


def _without_time(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "epoch_s"} for row in rows]


@dataclass
class Trained:
    """A model after 2 epochs, its checkpoint of then, and what it had reported and predicted."""

    model: Any
    checkpoint: Path
    rows: list[dict[str, float]]
    probabilities: np.ndarray
    val_probabilities: np.ndarray

    @functools.cached_property
    def unbroken(self) -> list[dict[str, float]]:
        """The rows of 3 epochs more; trains the model."""
        return self.model.fit(3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Trains each case once: to build and to compile a model is most of what these tests do."""
    known: dict[str, Trained] = {}

    def train(name: str, hparams: dict, features: str, arrays: TaskArrays) -> Trained:
        key = json.dumps([name, hparams, features])
        if key not in known:
            model = trainables.build(name, hparams, arrays, seed=5)
            rows, checkpoint = model.fit(2), tmp_path_factory.mktemp("trained") / "checkpoint"
            model.save(checkpoint)
            known[key] = Trained(model, checkpoint, rows, model.predict(arrays.val.x), model.val_probabilities.copy())
        return known[key]

    return train


def test_every_trainable_is_covered() -> None:
    assert set(HPARAMS) == KNOWN


@pytest.mark.parametrize(("name", "hparams", "features"), CASES)
def test_save_load_fit_equals_fit_without_a_break(
    name: str, hparams: dict, features: str, arrays: TaskArrays, trained: Callable[..., Trained]
) -> None:
    whole = trained(name, hparams, features, arrays)
    assert [row["epoch"] for row in whole.rows] == [1, 2]
    assert set(METRICS) <= set(whole.rows[0])
    unbroken = whole.unbroken

    resumed = trainables.build(name, hparams, arrays, seed=5)
    resumed.load(whole.checkpoint)
    assert resumed.epoch == 2
    assert costs.measured(resumed, arrays.val.x, on_gpu=False)["weights"] >= 1  # which changes nothing in training
    assert _without_time(resumed.fit(3)) == _without_time(unbroken)
    np.testing.assert_array_equal(resumed.predict(arrays.val.x), whole.model.predict(arrays.val.x))


@pytest.mark.parametrize(
    ("name", "hparams", "features"), [c for c in CASES if c.id in ("blendshape_dense-0", "pixel_mlp-0")]
)
def test_a_checkpoint_is_trained_on_with_another_learning_rate(
    name: str, hparams: dict, features: str, arrays: TaskArrays, trained: Callable[..., Trained]
) -> None:
    """As PBT does, with moments, averages and the schedule's epoch as they were: to the bit what a model does whose rate is
    changed while it trains. The others that are PERTURBABLE change nothing of what is loaded either.
    """
    before, module = trained(name, hparams, features, arrays), trainables.load(name)
    changed = {key: hparams[key] / 2 for key in ("dropout", "class_weights", "l2", "ema_decay") if key in hparams}
    other = module.build({**hparams, "learning_rate": 3e-3}, arrays, seed=5)
    other.load(before.checkpoint)
    rows = _without_time(other.fit(1))

    live = module.build(hparams, arrays, seed=5)
    live.load(before.checkpoint)
    live.hparams = live.hparams.model_copy(update={"learning_rate": 3e-3})
    if hasattr(live, "training"):
        live.training.h = live.hparams
    assert rows == _without_time(live.fit(1))
    assert rows != _without_time(before.unbroken[:1])
    assert {*changed, "learning_rate"} <= module.PERTURBABLE
    other = module.build({**hparams, **changed}, arrays, seed=5)
    other.load(before.checkpoint)
    np.testing.assert_array_equal(other.predict(arrays.val.x), before.probabilities)


def test_an_lstm_goes_on_in_another_process(
    blendshapes: TaskArrays, tiny_dataset: Path, trained: Callable[..., Trained]
) -> None:
    """To the bit, as after a driver or a trial's process was killed."""
    name, hparams = "blendshape_lstm", HPARAMS["blendshape_lstm"][0]
    whole = trained(name, hparams, "blendshapes", blendshapes)
    command = [sys.executable, "-c", GO_ON, str(tiny_dataset), name, json.dumps(hparams), str(whole.checkpoint)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _without_time(json.loads(done.stdout)) == _without_time(whole.unbroken)


@pytest.mark.parametrize(("name", "hparams", "features"), CASES)
def test_restored_from_its_checkpoint_alone_it_predicts_the_same(
    name: str, hparams: dict, features: str, arrays: TaskArrays, trained: Callable[..., Trained]
) -> None:
    before = trained(name, hparams, features, arrays)
    probabilities = before.probabilities
    assert probabilities.shape == (len(arrays.val.y), len(arrays.classes))
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    if not arrays.folds:  # else each face was answered by the model that did not learn it
        np.testing.assert_array_equal(probabilities, before.val_probabilities)
    again, near = trainables.restore(before.checkpoint).predict(arrays.val.x), 1e-6 * bool(arrays.folds)
    np.testing.assert_allclose(again, probabilities, rtol=near)
    if "curve" not in name:  # which knows the faces of val alone
        assert before.model.predict(arrays.val.x[:0]).shape == (0, len(arrays.classes))
    model = json.loads((before.checkpoint / "model.json").read_text())
    assert model["classes"] == arrays.classes
    assert model["preprocessing"] == arrays.preprocessing


@pytest.mark.parametrize(
    ("name", "hparams", "features"), [case for case in CASES if str(case.id).endswith(("-0", "-folds"))]
)
def test_the_seed_decides(
    name: str, hparams: dict, features: str, arrays: TaskArrays, trained: Callable[..., Trained]
) -> None:
    first = trained(name, hparams, features, arrays).rows
    again, other = (trainables.build(name, hparams, arrays, seed).fit(1) for seed in (5, 6))
    assert _without_time(again) == _without_time(first[:1])
    assert _without_time(other) != _without_time(first[:1])


@pytest.mark.parametrize(("name", "hparams", "features"), [case for case in CASES if str(case.id).endswith("-folds")])
def test_a_model_a_fold_is_the_model_of_each_fold_alone(
    name: str, hparams: dict, features: str, arrays: TaskArrays, trained: Callable[..., Trained]
) -> None:
    """What it reports are the means of what trials of `fold: 0`, `fold: 1`, … would, and it answers as their mean does."""
    whole, num = trained(name, hparams, features, arrays), len(arrays.folds)
    alone = [trainables.load(name).build(hparams, arrays.of_fold(number), seed=5) for number in range(num)]
    rows = [model.fit(2)[-1] for model in alone]
    last = whole.rows[1]
    for metric in METRICS[:-1]:
        assert last[metric] == pytest.approx(np.mean([row[metric] for row in rows]), rel=1e-12)
    for metric in FOLD_METRICS:
        assert fold_values(last, metric) == [row[metric] for row in rows]
    answers = np.stack([m.predict(arrays.val.x[:, f.columns] if "pixels" not in features else arrays.val.x)
                        for m, f in zip(alone, arrays.folds, strict=True)])  # fmt: skip
    np.testing.assert_allclose(whole.probabilities, answers.mean(axis=0), rtol=1e-5)
    for number, fold in enumerate(arrays.folds):
        np.testing.assert_array_equal(whole.val_probabilities[fold.val], alone[number].val_probabilities)
        described = json.loads((whole.checkpoint / f"member-{number}" / "model.json").read_text())
        assert described["learned"][0]["task"]["fold"] == number
    if "pixels" not in features:
        assert len({tuple(fold.columns) for fold in arrays.folds}) > 1, "each fold chose its own"


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_unknown_and_impossible_hparams_are_refused(name: str) -> None:
    hparams = trainables.load(name).Hparams
    with pytest.raises(ValidationError):
        hparams(no_such_knob=1)
    with pytest.raises(ValidationError):
        hparams(**({"top": 2.0} if "curve" in name else {"learning_rate": -1.0}))


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_points_and_random_samples_of_the_space_are_valid_hparams(name: str) -> None:
    space, hparams = search_spaces.load(name), trainables.load(name).Hparams
    for point in space.POINTS.values():
        trial = optuna.trial.FixedTrial(point)
        hparams(**space.space(trial))
        assert set(trial.params) == set(point), "a point names parameters that the space does not ask for"
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(100):
        hparams(**space.space(study.ask()))


@pytest.mark.parametrize("name", ["blendshape_dense", "blendshape_lstm"])
def test_every_knob_is_searchable(name: str) -> None:
    space = search_spaces.load(name).space
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    searched = set().union(*(space(study.ask()) for _ in range(200)))
    assert set(trainables.load(name).Hparams.model_fields) - searched == {"schedule_epochs"}  # the sweep's max_epochs


@pytest.mark.parametrize("transform", ["none", "logit"])
def test_a_model_learns_what_the_faces_show(transform: str, arrays: TaskArrays) -> None:
    hparams = {"units": [16], "learning_rate": 1e-2, "batch_size": 32, "standardise": True, "transform": transform}
    model = trainables.load("blendshape_dense").build(hparams, arrays, 0)
    assert model.fit(10)[-1]["val_macro_f1"] > 0.5  # always guessing the majority gives 0.18


@pytest.mark.parametrize("transform", ["none", "logit"])
def test_coordinates_are_standardised_and_scores_as_asked(transform: str, both: TaskArrays) -> None:
    hparams = {"units": [16], "learning_rate": 1e-2, "batch_size": 32, "transform": transform}
    model = trainables.load("blendshape_dense").build(hparams, both, 0)
    scored = np.array([name in BLENDSHAPES for name in both.feature_names])
    seen = model._prepared(both.train.x)
    np.testing.assert_allclose(seen[:, ~scored].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(seen[:, ~scored].std(axis=0), 1, rtol=1e-3)
    scores = np.clip(both.train.x[:, scored], 1e-6, 1 - 1e-6)
    wanted = np.log(scores / (1 - scores)) if transform == "logit" else scores
    np.testing.assert_allclose(seen[:, scored], wanted, rtol=1e-4, atol=1e-6)
    assert model.fit(10)[-1]["val_macro_f1"] > 0.5


def test_a_loss_that_is_not_finite_fails_the_trial(arrays: TaskArrays, of_folds: Callable[[str], TaskArrays]) -> None:
    with pytest.raises(TrialFailed, match=r"fold 0: .* at epoch"):
        trainables.build("faulty_curve", {"fault": "nan", "fault_at": 2}, of_folds("folds"), 0).fit(3)
    with pytest.raises(TrialFailed, match="at epoch"):
        trainables.load("faulty_curve").build({"fault": "nan", "fault_at": 2}, arrays, 0).fit(3)
    exploding = {"units": [8], "learning_rate": 1e30, "optimizer": "sgd", "activation": "relu", "l2": 1.0}
    with pytest.raises(TrialFailed, match=r"nan|inf"):
        trainables.load("blendshape_dense").build(exploding, arrays, 0).fit(5)


def test_values_change_without_retracing(arrays: TaskArrays) -> None:
    model = trainables.load("blendshape_dense").build({"units": [8], "schedule": "cosine"}, arrays, 0)
    model.fit(4)
    assert model._run_epoch.experimental_get_tracing_count() == 1
    assert model._predict.experimental_get_tracing_count() == 1


def test_averaged_weights_are_the_running_mean(arrays: TaskArrays) -> None:
    plain = trainables.load("blendshape_dense").build({"units": [8]}, arrays, 0)
    averaged = trainables.load("blendshape_dense").build({"units": [8], "ema_momentum": 0.0}, arrays, 0)
    plain.fit(2), averaged.fit(2)
    np.testing.assert_allclose(plain.predict(arrays.val.x), averaged.predict(arrays.val.x), atol=1e-6)
