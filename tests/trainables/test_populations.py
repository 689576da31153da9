"""What every population must do, whatever it is made of: its members are what they would be alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fersweep import trainables
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.trainables.population import Member, Population
from fersweep.trainables.protocol import METRICS, TrialFailed

pytestmark = pytest.mark.slow

EPOCHS = 5
# Of each trainable, members that differ in everything that may differ.
HPARAMS: dict[str, list[dict[str, Any]]] = {
    "curve": [{"top": 0.9, "rate": 0.2, "noise": 0.05}, {"top": 0.5}, {"rate": 0.4, "noise": 0.1}],
    "blendshape_dense": [
        {"units": [8], "dropout": 0.3, "ema_momentum": 0.9, "batch_norm": True, "schedule": "cosine", "optimizer": "adamw",
         "weight_decay": 1e-3, "class_weights": 0.5, "transform": "logit", "activation": "gelu", "label_smoothing": 0.1, "standardise": True},
        {"units": [6, 4], "optimizer": "sgd", "clipnorm": 0.5, "initializer": "he_normal", "batch_size": 32, "l2": 1e-3},
        {"units": [6, 4], "optimizer": "rmsprop", "beta_1": 0.0, "activation": "selu", "schedule": "exponential", "batch_size": 1000},
        {"units": [8], "activation": "tanh", "initializer": "orthogonal", "amsgrad": True, "batch_norm": True},
    ],
    "blendshape_lstm": [
        {"units": [6, 4], "dropout": 0.2, "clipnorm": 1.0, "amsgrad": True, "l2": 1e-4, "standardise": True, "learning_rate": 1e-2},
        {"units": [4], "layout": "steps", "recurrent_dropout": 0.2, "dropout": 0.1, "optimizer": "rmsprop", "initializer": "uniform",
         "bidirectional": True},
        {"units": [5], "bidirectional": True, "activation": "selu", "optimizer": "sgd", "beta_1": 0.0, "ema_momentum": 0.9, "weight_decay": 0.01},
        {"units": [6, 4], "activation": "relu", "batch_size": 64},
    ],
}  # fmt: skip
NAMES = sorted(HPARAMS)
FRAMEWORKLESS = [
    "blendshape_dense",
    "blendshape_lstm",
]  # what is Keras's alone, and a population's in another framework


@pytest.fixture(scope="module")
def arrays(tiny_dataset: Path) -> TaskArrays:
    return Task(tiny_dataset, TaskSpec()).arrays()


def points(name: str) -> list[tuple[dict[str, Any], int]]:
    return [(hparams, 5 + index) for index, hparams in enumerate(HPARAMS[name])]


def trained(population: Population, epochs: int = EPOCHS) -> list[list[dict[str, float]]]:
    """Each member's rows without their time."""
    epochs_rows: list[list[Any]] = [population.fit() for _ in range(epochs)]
    return [without_time(list(rows)) for rows in zip(*epochs_rows, strict=True)]


def without_time(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "epoch_s"} for row in rows]


def difference(rows: list[dict[str, float]], others: list[dict[str, float]]) -> float:
    """The largest of any metric."""
    return max(abs(row[name] - other[name]) for row, other in zip(rows, others, strict=True) for name in row)


def test_every_population_is_covered() -> None:
    assert set(HPARAMS) == {name for name in trainables.NAMES if trainables.fuses(name)}


@pytest.mark.parametrize("name", NAMES)
def test_a_member_is_what_it_is_alone(name: str, arrays: TaskArrays) -> None:
    together = trained(trainables.build_fused(name, points(name), arrays))
    for point, rows in zip(points(name), together, strict=True):
        assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
        assert set(METRICS) - {"epoch_s"} <= rows[0].keys()
        assert difference(trained(trainables.build_fused(name, [point], arrays))[0], rows) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_members_come_and_go(name: str, arrays: TaskArrays, tmp_path: Path) -> None:
    population = trainables.build_fused(name, points(name)[:2], arrays)
    first, second = population.members
    before = trained(population, 2)
    population.remove([first])
    probabilities = first.predict(arrays.val.x)
    third = population.add(*points(name)[2])
    assert population.members == [second, third]
    rows = trained(population, 3)
    alone = [trained(trainables.build_fused(name, [point], arrays), 5)[0] for point in points(name)[1:3]]
    assert difference(before[1] + rows[0], alone[0]) <= 1e-5
    assert difference(rows[1], alone[1][:3]) <= 1e-5
    assert np.array_equal(first.predict(arrays.val.x), probabilities)
    first.save(tmp_path / "gone")
    restored = trainables.restore(tmp_path / "gone")
    assert np.abs(restored.predict(arrays.val.x) - probabilities).max() <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_save_load_fit_equals_fit_without_a_break(name: str, arrays: TaskArrays, tmp_path: Path) -> None:
    population = trainables.build_fused(name, points(name), arrays)
    trained(population, 2)
    snapshots = [member.snapshot() for member in population.members]
    for index, member in enumerate(population.members):
        member.save(tmp_path / f"saved-{index}")
    unbroken = trained(population, 3)
    for index, snapshot in enumerate(snapshots):  # what was frozen has not changed since
        snapshot.save(tmp_path / f"frozen-{index}")
        saved, frozen = (np.load(tmp_path / f"{kind}-{index}" / "state.npz") for kind in ("saved", "frozen"))
        assert all(np.array_equal(saved[array], frozen[array]) for array in saved.files)
    resumed = trainables.build_fused(name, points(name), arrays)
    for index, member in enumerate(resumed.members):
        member.load(tmp_path / f"frozen-{index}")
        assert member.epoch == 2
    for rows, others in zip(trained(resumed, 3), unbroken, strict=True):
        assert difference(rows, others) <= 1e-6


@pytest.mark.parametrize("name", FRAMEWORKLESS)
def test_its_checkpoint_is_the_trainables_own(name: str, arrays: TaskArrays, tmp_path: Path) -> None:
    """Both ways: each loads what the other saved, and trains on as the other does, where nothing is dropped."""
    for index, (hparams, seed) in enumerate(points(name)):
        plain = hparams | {"dropout": 0.0} | ({"recurrent_dropout": 0.0} if name == "blendshape_lstm" else {})
        if plain.get("batch_norm"):  # a bias before it has no gradient but rounding, which Adam makes a step of
            plain |= {"optimizer": "sgd"}
        alone, directory = trainables.build(name, plain, arrays, seed), tmp_path / str(index)
        alone.save(directory / "begun")
        population = trainables.build_fused(name, [(plain, seed)], arrays)
        member: Member = population.members[0]
        member.load(directory / "begun")
        assert difference(without_time(alone.fit(EPOCHS)), trained(population)[0]) <= 1e-5
        assert np.abs(alone.val_probabilities - member.val_probabilities).max() <= 1e-4
        member.save(directory / "fused")
        alone.save(directory / "alone")
        fused, own = (np.load(directory / kind / "state.npz") for kind in ("fused", "alone"))
        assert fused.files == own.files
        assert all((fused[a].shape, fused[a].dtype) == (own[a].shape, own[a].dtype) for a in own.files)
        models = [json.loads((directory / kind / "model.json").read_text()) for kind in ("fused", "alone")]
        assert models[0] == models[1]
        restored = trainables.restore(directory / "fused")
        assert np.abs(restored.predict(arrays.val.x) - member.predict(arrays.val.x)).max() <= 1e-5
        assert member.num_weights() == restored.num_weights()
        alone.load(directory / "fused")
        assert difference(without_time(alone.fit(1)), trained(population, 1)[0]) <= 1e-5


@pytest.mark.parametrize("name", FRAMEWORKLESS)
def test_first_values_are_drawn_as_keras_draws_them(name: str, arrays: TaskArrays, tmp_path: Path) -> None:
    """Of each variable the spread, which the initialiser decides; and exactly those that are constants."""
    for initializer in ("glorot_uniform", "he_normal", "orthogonal", "uniform"):
        hparams = {"units": [64, 48], "initializer": initializer, "initializer_range": 0.3}
        trainables.build(name, hparams, arrays, 3).save(tmp_path / initializer / "alone")
        trainables.build_fused(name, [(hparams, 3)], arrays).members[0].save(tmp_path / initializer / "fused")
        alone, fused = (np.load(tmp_path / initializer / kind / "state.npz") for kind in ("alone", "fused"))
        for array in alone.files:
            ours, theirs = fused[array].astype(float), alone[array].astype(float)
            if theirs.dtype.kind == "f" and theirs.size > 1000:
                assert ours.std() == pytest.approx(theirs.std(), rel=0.1), array
                assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.3), array
            elif not theirs.std() and alone[array].dtype.kind == "f":
                assert np.array_equal(ours, theirs), array


@pytest.mark.parametrize("name", FRAMEWORKLESS)
def test_a_member_that_fails_fails_alone(name: str, arrays: TaskArrays) -> None:
    broken = ({"units": [4], "learning_rate": 1e38, "optimizer": "sgd", "l2": 1.0}, 3)
    population = trainables.build_fused(name, [points(name)[0], broken], arrays)
    for _ in range(EPOCHS):
        good, bad = population.fit()
        assert not isinstance(good, TrialFailed)
        if isinstance(bad, TrialFailed):
            break
    assert isinstance(bad, TrialFailed)
    assert "at epoch" in str(bad)
    population.remove([population.members[1]])
    assert len(population.fit()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_hparams_that_are_none_are_refused(name: str, arrays: TaskArrays) -> None:
    population = trainables.build_fused(name, points(name)[:1], arrays)
    with pytest.raises(ValidationError):
        population.add({"no_such": 1}, 0)
    assert len(population.members) == len(population.fit()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_seconds_of_an_epoch_are_shared_out(name: str, arrays: TaskArrays) -> None:
    rows = trainables.build_fused(name, points(name), arrays).fit()
    assert all(not isinstance(row, TrialFailed) and math.isfinite(row["epoch_s"]) for row in rows)


@pytest.mark.parametrize("name", FRAMEWORKLESS)
def test_a_larger_member_takes_more_memory(name: str, arrays: TaskArrays) -> None:
    module = trainables.load(name)
    small, large = (module.member_bytes({"units": [units]}, arrays) for units in (8, 512))
    assert 0 < small < large
    assert module.member_bytes({"units": [8], "batch_size": 300}, arrays) > small
