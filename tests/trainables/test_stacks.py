"""Members of one shape that are trained as one (fused_training/stack.py): on a CPU nobody does, and a GPU does the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.spec import TaskSpec
from fersweep.data_pipeline.tasks.task import Task
from fersweep.trainables import blendshape_dense, blendshape_lstm
from fersweep.trainables.fused_training.dense_net import DenseNet
from fersweep.trainables.fused_training.dropout import Masks
from fersweep.trainables.fused_training.lstm_net import LSTMNet
from fersweep.trainables.fused_training.net import Mask, Net
from fersweep.trainables.fused_training.optimisers import Clip, FusedAdam, Optimiser, make_optimiser, state_names
from fersweep.trainables.fused_training.population import VectorPopulation
from fersweep.trainables.fused_training.program import Program
from fersweep.trainables.fused_training.variables import Layout
from fersweep.trainables.population import val_metrics_of_members
from fersweep.trainables.protocol import val_metrics

EPOCHS = 3
LSTM: list[dict[str, Any]] = [
    {"dropout": 0.2},
    {"bidirectional": True, "dropout": 0.2, "clipnorm": 1.0, "weight_decay": 0.01, "l2": 1e-3, "ema_momentum": 0.9, "amsgrad": True},
    {"layout": "steps", "units": [3, 2], "dropout": 0.2, "recurrent_dropout": 0.1, "bidirectional": True, "activation": "relu"},
]  # fmt: skip
DENSE: list[dict[str, Any]] = [
    {"batch_norm": True, "optimizer": "sgd", "dropout": 0.3, "activation": "gelu"},
    {"activation": "gelu"},
    {"activation": "tanh", "batch_norm": True},
    {"optimizer": "rmsprop", "activation": "selu", "clipnorm": 0.5, "label_smoothing": 0.1, "class_weights": 0.5},
]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def arrays(tiny_dataset: Path) -> TaskArrays:
    return Task(tiny_dataset, TaskSpec()).arrays()


def members(hparams: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """Three points of one shape that differ in all that may differ in a stack."""
    scaled = ("dropout", "clipnorm", "weight_decay", "l2", "ema_momentum", "label_smoothing")
    return [
        (
            {
                "units": [6, 4],
                "batch_size": 32,
                **hparams,
                "learning_rate": 2e-3 * (index + 1),
                "beta_1": 0.8 + index / 20,
            }
            | {name: hparams[name] * (1 - index / 10) for name in scaled if name in hparams},
            index,
        )
        for index in range(3)
    ]


@pytest.mark.parametrize(
    ("trainable", "net", "hparams", "threads"),
    [
        *((blendshape_lstm, LSTMNet, h, "1") for h in LSTM),
        *((blendshape_dense, DenseNet, h, "1") for h in DENSE),
        (blendshape_lstm, LSTMNet, LSTM[1], "2"),  # products by PyTorch, not by NumPy
        (blendshape_dense, DenseNet, DENSE[1], "2"),
    ],
)
def test_a_stack_trains_each_member_as_alone(
    trainable: Any,
    net: type[Net],
    hparams: dict[str, Any],
    arrays: TaskArrays,
    threads: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)

    def population(points: list[tuple[dict[str, Any], int]], most: int) -> VectorPopulation:
        return VectorPopulation("stacked", trainable.Hparams, net, points, arrays, most_stacked=most)

    together = population(members(hparams), 3)
    rows = [together.fit() for _ in range(EPOCHS)]
    assert len(together._stacks) == 1
    for index, point in enumerate(members(hparams)):
        alone = population([point], 1)
        for epoch in range(EPOCHS):
            row, other = alone.fit()[0], rows[epoch][index]
            assert isinstance(row, dict)
            assert isinstance(other, dict)
            assert max(abs(row[name] - other[name]) for name in row if name != "epoch_s") <= 1e-5
    left = together.members[1]
    before = left.predict(arrays.val.x)
    together.remove([left])
    together.fit()
    np.testing.assert_allclose(left.predict(arrays.val.x), before, rtol=0, atol=0 if threads == "1" else 1e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu", "selu"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layout", ["features", "steps"])
def test_gradients_of_an_lstm_are_autograds(activation: str, bidirectional: bool, layout: str) -> None:
    hparams = blendshape_lstm.Hparams(
        units=(5, 4), activation=activation, bidirectional=bidirectional, layout=layout  # type: ignore[arg-type]
    )  # fmt: skip
    features, net = 7, LSTMNet(hparams, 7, 3)

    def logits(kernels: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        act = {"tanh": torch.tanh, "relu": torch.relu, "selu": torch.selu}[activation]
        steps = [x] if layout == "features" else list(x.split(1, 1))
        for layer, units in enumerate(hparams.units):
            ways: list[list[torch.Tensor]] = []
            for way in range(1 + bidirectional):
                hidden = carry = torch.zeros(len(x), units, dtype=x.dtype)
                outputs: list[torch.Tensor] = []
                for step in steps[::-1] if way else steps:
                    z = step @ kernels[f"{layer}.{way}.kernel"] + hidden @ kernels[f"{layer}.{way}.recurrent"]
                    i, f, g, o = (z + kernels[f"{layer}.{way}.bias"]).split(units, 1)
                    carry = f.sigmoid() * carry + i.sigmoid() * act(g)
                    hidden = o.sigmoid() * act(carry)
                    outputs.append(hidden)
                ways.append(outputs)
            last = torch.cat([outputs[-1] for outputs in ways], 1)
            steps = [torch.cat(pair, 1) for pair in zip(ways[0], *(way[::-1] for way in ways[1:]), strict=True)]
        return last @ kernels["head.kernel"] + kernels["head.bias"]

    _same_gradients(net, features, logits)


@pytest.mark.parametrize("activation", ["tanh", "relu", "selu", "gelu"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradients_of_a_dense_net_are_autograds(activation: str, batch_norm: bool) -> None:
    hparams = blendshape_dense.Hparams(units=(5, 4), activation=activation, batch_norm=batch_norm)  # type: ignore[arg-type]
    net = DenseNet(hparams, 7, 3)

    def logits(kernels: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        act = {"tanh": torch.tanh, "relu": torch.relu, "selu": torch.selu, "gelu": torch.nn.functional.gelu}[activation]
        for layer in range(2):
            x = x @ kernels[f"{layer}.kernel"] + kernels[f"{layer}.bias"]
            if batch_norm:
                variance, mean = torch.var_mean(x, 0, correction=0)
                x = (x - mean) / torch.sqrt(variance + 1e-3) * kernels[f"{layer}.gamma"] + kernels[f"{layer}.beta"]
            x = act(x)
        return x @ kernels["2.kernel"] + kernels["2.bias"]

    _same_gradients(net, 7, logits)


def _same_gradients(net: Any, features: int, logits: Any) -> None:
    """Of a net's program, and of PyTorch's autograd on `logits` in float64."""
    layout, rng = Layout(net.variables), np.random.default_rng(1)
    values, gradient = torch.zeros(layout.size), torch.zeros(layout.num_trained)
    first = {name: value + 0.1 * rng.standard_normal(value.shape) for name, value in net.first_values(rng).items()}
    for variable in net.variables:
        layout.views(values)[variable.name].copy_(torch.from_numpy(variable.from_keras(first[variable.name])))
    program, x = Program((), CPU), torch.from_numpy(rng.standard_normal((16, features + 1)).astype(np.float32))
    x[:, -1] = 1
    moving = {name: torch.from_numpy(value.copy()) for name, value in net.moving.items()}
    shown, kept = net.forward(program, layout.blocks(values), moving, x, [])
    seeds, of_logits = torch.from_numpy(rng.standard_normal((3, 16)).astype(np.float32)), program.like(shown)
    program.do(of_logits.copy_, seeds)
    net.backward(program, layout.blocks(values), layout.blocks(gradient), kept, of_logits)
    program.run()
    kernels = {name: torch.from_numpy(value).double().requires_grad_() for name, value in first.items()}
    answers = logits(kernels, x[:, :-1].double())
    assert torch.allclose(answers.T, shown.double(), rtol=1e-4, atol=1e-5)
    (answers * seeds.T.double()).sum().backward()
    views = layout.views(gradient)
    for variable in net.variables:
        if not variable.idle:
            expected = kernels[variable.name].grad
            assert expected is not None
            ours = torch.from_numpy(variable.to_keras(views[variable.name].numpy())).double()
            assert torch.allclose(ours, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()) + 1e-6), (
                variable.name
            )


@pytest.mark.parametrize("hashed", [False, True])
def test_masks_drop_what_they_should(hashed: bool) -> None:
    """Of each member its own rate; other masks in each step, epoch and member; and none depends on the others."""
    wanted = [[Mask(40, 50, 0.2), Mask(30, 20, 0.5)], [Mask(40, 50, 0.6), Mask(30, 20, 0.1)]]

    def drawn(of: list[list[Mask]], seeds: list[tuple[int, int]]) -> list[list[torch.Tensor]]:
        masks = Masks(of, CPU, hashed)
        masks.start(seeds, 8)
        steps: list[list[torch.Tensor]] = []
        for step in range(8):
            masks.draw(step)
            steps.append([tensor.clone() for tensor in masks.tensors])
        return steps

    steps = drawn(wanted, [(1, 0), (2, 0)])
    for member in range(2):
        for index, (_, _, rate) in enumerate(wanted[member]):
            masks = torch.stack([step[index][member] for step in steps])
            assert float((masks == 0).float().mean()) == pytest.approx(rate, abs=0.02)
            assert masks.max() == pytest.approx(1 / (1 - rate), rel=1e-4)
            assert float(masks.mean()) == pytest.approx(1, abs=0.05)
            assert all(not torch.equal(masks[0], other) for other in masks[1:])
    alone = drawn(wanted[1:], [(2, 0)])
    assert all(torch.equal(one[i], step[i][1]) for one, step in zip(alone, steps, strict=True) for i in range(2))
    assert not torch.equal(drawn(wanted[1:], [(2, 1)])[0][0], alone[0][0])


def test_metrics_of_members_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    probabilities, y = rng.dirichlet(np.ones(4), (3, 50)).astype(np.float32), rng.integers(0, 3, 50)
    for row, of_one in zip(val_metrics_of_members(probabilities, y), probabilities, strict=True):
        assert row == pytest.approx(val_metrics(of_one, y), rel=1e-6)


@pytest.mark.parametrize("by_numpy", [True, False])
@pytest.mark.parametrize("lead", [(), (3,)], ids=["one", "stack"])
def test_gradients_are_clipped_variable_by_variable(lead: tuple[int, ...], by_numpy: bool) -> None:
    """Of one member, and of a stack; on a GPU without NumPy. Small ones are left as they are; one that is not finite stays so."""
    rng = np.random.default_rng(0)
    gradient = torch.from_numpy(rng.standard_normal((*lead, 4 * 6)).astype(np.float32))
    memory = gradient.unflatten(-1, (4, 6))
    norms, parts = [0.5, 100.0, 2.0] if lead else [0.5], [memory[..., :5], memory[..., 5:]]
    wanted: list[torch.Tensor] = []
    for part in parts:
        scale = (torch.tensor(norms).view(lead) / part.reshape(*lead, -1).norm(dim=-1)).clamp(max=1)
        wanted.append(part * scale[..., None, None])
    clip = Clip(gradient, parts, norms)
    clip._by_numpy = by_numpy
    clip.clip()
    for part, clipped in zip(parts, wanted, strict=True):
        assert torch.allclose(part, clipped, rtol=1e-6, atol=1e-7)
    small = gradient.mul_(1e-3).clone()
    clip.clip()
    assert torch.equal(gradient, small)
    memory[..., 0, 0] = torch.nan
    clip.clip()
    assert not torch.isfinite(memory[..., 0, 0]).any()


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_in_one_pass_is_adam(amsgrad: bool) -> None:
    """`torch._fused_adamw_`, a private name, with the rate and epsilon that make it Keras's."""
    hparams = [blendshape_dense.Hparams(beta_1=0.8 + 0.1 * k, amsgrad=amsgrad, learning_rate=0.01) for k in range(2)]
    rng, ways = np.random.default_rng(0), list[torch.Tensor]()
    first = torch.from_numpy(rng.standard_normal((2, 50)).astype(np.float32))
    gradients = torch.from_numpy(rng.standard_normal((30, 2, 50)).astype(np.float32))
    for kind in (Optimiser, FusedAdam):
        values, gradient = first.clone(), torch.zeros_like(first)
        state = {name: torch.zeros_like(first) for name in state_names(hparams[0])}
        optimiser = kind(hparams, values, gradient, state)
        optimiser.start([np.full(30, 0.01, np.float32)] * 2, [0, 100])
        for step in range(30):
            gradient.copy_(gradients[step])
            optimiser.step(step)
        ways.append(values)
    assert torch.allclose(*ways, rtol=1e-5, atol=1e-6)
    assert isinstance(make_optimiser(hparams, first, gradients[0], {n: first.clone() for n in state}), FusedAdam)
