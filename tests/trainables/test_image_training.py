"""How the image models are trained: losses, schedules, freezing, averaging, memory."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.utils import ModelEmaV3
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from fersweep import search_spaces, trainables
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.trainables.batches import epoch_order
from fersweep.trainables.cnn.hparams import Hparams
from fersweep.trainables.cnn.net import CNN
from fersweep.trainables.protocol import TrialFailed
from fersweep.trainables.torch_training import device as devices
from fersweep.trainables.torch_training.cpu_convolutions import quicken
from fersweep.trainables.torch_training.layers import Dropout
from fersweep.trainables.torch_training.loop import targets
from fersweep.trainables.torch_training.optimisation import Average, Plateau, Training, rate_factors, unfrozen_at

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"widths": [4, 6], "batch_size": 32}


@pytest.fixture(scope="module")
def arrays(tiny_dataset: Path) -> TaskArrays:
    return Task(tiny_dataset, TaskSpec(features="pixels")).arrays()


def build(arrays: TaskArrays, **hparams: Any) -> Any:
    return trainables.load("cnn").build(SMALL | hparams, arrays, 0)


def faces(num: int = 8, size: int = 48) -> torch.Tensor:
    return torch.randn(num, 1, size, size)


@pytest.mark.parametrize(
    ("trainable", "point"),
    [(name, point) for name in ("pixel_mlp", "cnn", "transfer") for point in search_spaces.load(name).POINTS],
)
def test_every_seed_point_trains(trainable: str, point: str, arrays: TaskArrays) -> None:
    import optuna

    space = search_spaces.load(trainable)
    hparams = space.space(optuna.trial.FixedTrial(space.POINTS[point]))
    hparams |= {"weights": "none"} if trainable == "transfer" else {}
    few = {name: dataclasses.replace(part, x=part.x[:70], y=part.y[:70], weight=part.weight[:70])
           for name, part in (("train", arrays.train), ("val", arrays.val))}  # fmt: skip
    model = trainables.load(trainable).build(hparams, dataclasses.replace(arrays, **few), 0)
    before = {name: value.clone() for name, value in model.training.net.state_dict().items()}
    assert np.isfinite(model.fit(1)[0]["train_loss"])
    moved = [name for name, value in model.training.net.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) > 0.9 * len(list(model.training.net.parameters()))


def test_a_cnn_learns_what_the_faces_show(arrays: TaskArrays) -> None:
    model = build(arrays, widths=[8, 16], learning_rate=5e-3, flip=False, head_pooling="flatten", zoom=0.05)
    assert model.fit(12)[-1]["val_macro_f1"] > 0.6  # always guessing the majority gives 0.18


def test_a_loss_that_is_not_finite_fails_the_trial(arrays: TaskArrays) -> None:
    with pytest.raises(TrialFailed, match=r"nan|inf"):
        build(arrays, learning_rate=1e30, optimizer="sgd", batch_norm=False).fit(3)


# What is learned


def test_the_loss_is_cross_entropy_and_focal_without_focus_too(arrays: TaskArrays) -> None:
    logits, y = torch.randn(10, 3), torch.randint(3, (10,))
    plain, focal, focused = (
        Training(CNN(h, 3), h, "fp32", torch.device("cpu"))._loss(logits, F.one_hot(y, 3).float())
        for h in (Hparams(), Hparams(loss="focal", focal_gamma=0.0), Hparams(loss="focal"))
    )
    torch.testing.assert_close(plain, F.cross_entropy(logits, y))
    torch.testing.assert_close(plain, focal)
    assert focused < plain


def test_targets_are_weighted_smoothed_or_voted(arrays: TaskArrays) -> None:
    y = arrays.train.y
    plain = targets(arrays, Hparams())
    np.testing.assert_array_equal(plain, np.eye(3, dtype=np.float32)[y])
    smooth = targets(arrays, Hparams(label_smoothing=0.3))
    np.testing.assert_allclose(smooth[np.arange(len(y)), y], 0.8, atol=1e-6)
    weighted = targets(arrays, Hparams(class_weights=1.0))
    np.testing.assert_allclose(weighted.sum(axis=0), len(y) / 3, rtol=1e-4)  # each class weighs the same
    votes = np.tile(np.array([0.5, 0.3, 0.2], np.float32), (len(y), 1))
    voted = dataclasses.replace(arrays, train=dataclasses.replace(arrays.train, votes=votes))
    np.testing.assert_allclose(targets(voted, Hparams(soft_labels=True)), votes)
    np.testing.assert_array_equal(targets(voted, Hparams()), plain)


def test_balanced_sampling_draws_each_class_as_often() -> None:
    y = np.array([0] * 900 + [1] * 90 + [2] * 10)
    drawn = epoch_order(y, 10, True, np.random.default_rng(0))
    assert drawn.shape == (100, 10)
    assert (np.bincount(y[drawn.ravel()]) > 270).all()
    assert len(np.unique(epoch_order(y, 10, False, np.random.default_rng(0)))) == 1000


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(8, 16, 24, 24).contiguous(memory_format=torch.channels_last)
    dropout = Dropout(0.25)
    after = dropout(x)
    assert after.unique().tolist() == pytest.approx([0, 256 / 192])
    assert after.mean().item() == pytest.approx(1, abs=0.01)
    assert (after[0] != after[1]).any()
    assert torch.equal(dropout.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("kernel", [1, 3, 5, (5, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("same", [True, False], ids=["same", "padded"])
@pytest.mark.parametrize("groups", [1, 6])
def test_quickened_convolutions_are_the_same(size: int, kernel: Any, stride: int, same: bool, groups: int) -> None:
    padding = 0 if same else tuple(k // 2 for k in np.broadcast_to(kernel, 2).tolist())
    kind = Conv2dSame if same else torch.nn.Conv2d
    plain = kind(6, 6, kernel, stride, padding, groups=groups)
    quick = copy.deepcopy(torch.nn.Sequential(plain))
    quicken(quick)
    if groups > 1 or (kernel, stride, same) == (1, 1, False):
        assert type(quick[0]) is not type(plain)
    x, y = (torch.randn(4, 6, size, size + 1).requires_grad_() for _ in range(2))
    y.data = x.detach().clone()
    torch.testing.assert_close(quick(x), plain(y))
    quick(x).square().sum().backward(), plain(y).square().sum().backward()
    for ours, theirs in ((x, y), (quick[0].weight, plain.weight), (quick[0].bias, plain.bias)):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        low = quick(x)
    torch.testing.assert_close(low.float(), plain(y), atol=0.05, rtol=0.05)


# Rates


def test_schedules() -> None:
    def whole(**hparams: Any) -> np.ndarray:
        h = Hparams(schedule_epochs=10, **hparams)
        return np.concatenate([rate_factors(h, epoch, 20) for epoch in range(12)])

    assert (whole() == 1).all()
    cosine = whole(schedule="cosine")
    assert cosine[0] == 1
    assert cosine[100] == pytest.approx(0.5)
    assert (cosine[200:] < 1e-9).all()
    factors = whole(schedule="one_cycle")
    assert factors[0] == pytest.approx(1 / 25)
    assert factors.argmax() == 60
    assert factors.max() == pytest.approx(1)
    assert factors[-1] < 1e-4
    warm = whole(warmup_epochs=2)
    assert warm[0] == pytest.approx(1 / 40)
    assert (np.diff(warm[:40]) > 0).all()
    assert (warm[40:] == 1).all()


def test_plateau_cuts_the_rate_after_patience() -> None:
    plateau = Plateau(Hparams(schedule="plateau", plateau_patience=2, plateau_factor=0.1))
    scales = []
    for loss in (1.0, 0.9, 0.95, 0.92, 0.91, 0.8):
        plateau.see(loss)
        scales.append(plateau.scale)
    assert scales == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_plateau_is_torchs(patience: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = ReduceLROnPlateau(optimizer, factor=0.3, patience=patience - 1, threshold=0.0, eps=0.0)
    ours = Plateau(Hparams(schedule="plateau", plateau_patience=patience, plateau_factor=0.3))
    for loss in np.random.default_rng(patience).integers(1, 6, 40):  # ties among them
        ours.see(float(loss)), theirs.step(float(loss))
        assert ours.scale == theirs.get_last_lr()[0]
    assert ours.scale < 0.01


def test_cosine_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = CosineAnnealingLR(optimizer, T_max=5 * 20)
    theirs = []
    for _ in range(5 * 20):
        theirs.append(scheduler.get_last_lr()[0])
        optimizer.step(), scheduler.step()
    h = Hparams(schedule="cosine", schedule_epochs=5)
    np.testing.assert_allclose(np.concatenate([rate_factors(h, epoch, 20) for epoch in range(5)]), theirs, atol=1e-12)


def test_stages_thaw_from_the_head_down_and_rise_slowly(arrays: TaskArrays) -> None:
    gradual, head_first = Hparams(freeze="gradual", freeze_epochs=2), Hparams(freeze="head_first", freeze_epochs=3)
    assert [unfrozen_at(gradual, stage, 4) for stage in range(4)] == [6, 4, 2, 0]
    assert [unfrozen_at(head_first, stage, 4) for stage in range(4)] == [3, 3, 3, 0]
    training = Training(CNN(h := Hparams(**SMALL, freeze="head_first", freeze_epochs=2, layer_decay=0.5, learning_rate=1.0), 3),
                        h, "fp32", torch.device("cpu"))  # fmt: skip
    rates = training.rates(2, 10, 1.0)
    np.testing.assert_allclose(rates[0], [0.25 * 0.1, 0.5 * 0.1, 1.0])
    np.testing.assert_allclose(training.rates(3, 10, 1.0)[0], [0.25, 0.5, 1.0])


def test_what_is_frozen_does_not_move(arrays: TaskArrays) -> None:
    model = build(arrays, freeze="head_first", freeze_epochs=1, weight_decay=0.1, optimizer="adamw", learning_rate=1e-2)
    before = {name: value.clone() for name, value in model.training.net.state_dict().items()}

    def moved() -> set[str]:
        after = model.training.net.state_dict()
        return {name for name, value in after.items() if not torch.equal(value, before[name])}

    model.fit(1)
    assert moved()
    assert all(name.startswith("head.") for name in moved())
    model.fit(1)
    assert {"stages.0.convolutions.0.weight", "stages.0.convolutions.1.running_mean"} <= moved()


def test_averaged_weights(arrays: TaskArrays) -> None:
    plain, averaged = build(arrays), build(arrays, ema_decay=0.0)
    plain.fit(2), averaged.fit(2)
    np.testing.assert_allclose(plain.predict(arrays.val.x), averaged.predict(arrays.val.x), atol=1e-5)
    slow = build(arrays, ema_decay=0.999)
    slow.fit(2)
    assert not np.allclose(slow.predict(arrays.val.x), plain.predict(arrays.val.x), atol=1e-3)
    assert slow.training.average.num_updates == 2 * (len(arrays.train.y) // 32)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_average_is_timms_bit_by_bit(decay: float) -> None:
    net = CNN(Hparams(widths=(4, 6)), 3)
    ours = Average(net, decay)
    theirs = ModelEmaV3(net, decay, use_warmup=True, warmup_gamma=9.0, warmup_power=1.0)
    for update in range(1, 61):
        net(faces(4)).square().sum().backward()  # moves the batch statistics
        with torch.no_grad():
            for weight in net.parameters():
                weight.add_(torch.randn_like(weight), alpha=0.1)
        ours.update(), theirs.update(net, step=update + 2)
    for name, value in theirs.module.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(ours.state[name], value), name
            assert torch.equal(ours.net.state_dict()[name], value), name


def test_sam_goes_back_before_it_steps(arrays: TaskArrays) -> None:
    plain, sharp = (
        Training(CNN(h := Hparams(**SMALL, optimizer="sgd", momentum=0.0, learning_rate=0.1, sam_rho=rho), 3), h, "fp32", torch.device("cpu"))
        for rho in (None, 0.05)
    )  # fmt: skip
    sharp.net.load_state_dict(plain.net.state_dict())
    x, y = faces(32), F.one_hot(torch.randint(3, (32,)), 3).float()
    for training in (plain, sharp):
        training.begin_epoch(0)
        training.step(x, y, np.full(3, 0.1))
    difference = max(
        (a - b).abs().max().item() for a, b in zip(plain.net.parameters(), sharp.net.parameters(), strict=True)
    )
    assert 0 < difference < 0.02  # another gradient, at the same place
    for (name, a), (_, b) in zip(plain.net.named_buffers(), sharp.net.named_buffers(), strict=True):
        if "num_batches" not in name:
            torch.testing.assert_close(a, b)  # a batch counts once


# Memory


def test_the_largest_batch_that_fits() -> None:
    assert devices.largest_batch(lambda batch: batch <= 100) == 64
    assert devices.largest_batch(lambda batch: True) == 1024
    assert devices.largest_batch(lambda batch: True, 300) == 256
    assert devices.largest_batch(lambda batch: False) is None


def test_auto_takes_a_smaller_batch_where_there_is_less_memory(
    arrays: TaskArrays, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert build(arrays, batch_size="auto").batch_size == 128  # of 228 faces
    monkeypatch.setattr(devices, "memory_bytes", lambda: 8 * 2**20)
    model = build(arrays, batch_size="auto")
    assert 2 <= model.batch_size < 128
    model.save(tmp_path)
    monkeypatch.undo()
    again = build(arrays, batch_size="auto")
    again.load(tmp_path)
    assert again.batch_size == model.batch_size
    monkeypatch.setattr(devices, "memory_bytes", lambda: 1000)
    with pytest.raises(TrialFailed, match=r"out of memory: one batch .* lower batch_size"):
        build(arrays, batch_size="auto")


def test_saved_bytes_counts_what_the_backward_pass_needs() -> None:
    x = torch.zeros(10, 100, requires_grad=True)
    assert devices.saved_bytes(lambda: x.exp().sum().backward()) == 4000


def test_out_of_memory_is_the_trials_own_failure(arrays: TaskArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(arrays)

    def too_big(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(model.training, "step", too_big)
    with pytest.raises(TrialFailed, match="out of memory: batch_size 32, image_size 48"):
        model.fit(1)


@pytest.mark.parametrize(("wanted", "expected"), [("fp32", "fp32"), ("bf16", "bf16"), ("fp16", "fp16")])
def test_precision_is_what_is_asked(wanted: str, expected: str, arrays: TaskArrays) -> None:
    model = build(arrays, precision=wanted)
    assert model.precision == expected
    assert np.isfinite(model.fit(1)[0]["train_loss"])


# Test-time augmentation and what a net looks at


def test_tta_is_reported_beside(arrays: TaskArrays) -> None:
    model = build(arrays, tta=True)
    (row,) = model.fit(1)
    assert {"val_tta_accuracy", "val_tta_macro_f1", "val_tta_loss"} <= set(row)
    x = arrays.val.x
    both = (model.predict(x) + model.predict(np.ascontiguousarray(x[..., ::-1]))) / 2
    np.testing.assert_allclose(model.predict_tta(x), both, atol=1e-6)
    np.testing.assert_array_equal(model.val_probabilities, model.predict(x))


def test_feature_maps_and_grad_cam(arrays: TaskArrays, tmp_path: Path) -> None:
    model = build(arrays, ema_decay=0.9)
    model.fit(1)
    x, y = arrays.val.x[:5], arrays.val.y[:5]
    before = model.predict(x)
    maps = model.feature_maps(x[0], 5)
    assert [(name, values.shape) for name, values in maps] == [("stage 1", (4, 24, 24)), ("stage 2", (5, 12, 12))]
    cam = model.grad_cam(x, y)
    assert cam.shape == (5, 48, 48)
    assert cam.dtype == np.float32
    assert cam.min() >= 0
    assert cam.max() <= 1 + 1e-6
    assert not np.array_equal(cam, model.grad_cam(x, (y + 1) % 3))
    np.testing.assert_array_equal(model.predict(x), before)
    model.save(tmp_path)
    np.testing.assert_allclose(trainables.restore(tmp_path).grad_cam(x, y), cam, atol=1e-5)  # type: ignore[union-attr]
