"""One model of a population of nets of vectors: its values, its checkpoint, its answers."""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fersweep.trainables.fused_training import optimisers
from fersweep.trainables.fused_training.answers import ROWS, Answers
from fersweep.trainables.fused_training.net import Net
from fersweep.trainables.fused_training.variables import Layout
from fersweep.trainables.saved_model import read_checkpoint, write_checkpoint
from fersweep.trainables.vectors import Preparation

FIRST_VALUES = 1  # what a generator of random numbers is for


class VectorMember:
    """See Member. `net`: its shape.

    Attributes:
        values: (P,) of its variables; `state`: by name, as much of each thing that its optimizer keeps, and `average`: the
            averaged values (Polyak), where it has some.
        moving: by name, (units, 1).
        step: number of steps trained; rate: the last one's learning rate.
    """

    def __init__(
        self,
        net: Net,
        hparams: Any,
        model: dict[str, Any],
        statistics: dict[str, np.ndarray],
        preparation: Preparation,
        device: torch.device,
    ):
        self.net, self.hparams, self.model, self._statistics = net, hparams, model, statistics
        self.preparation, self.device = preparation, device
        self.layout = Layout(net.variables)
        self.epoch = self.step = 0
        self.rate = np.float32(hparams.learning_rate)
        self.val_probabilities = np.zeros((0, len(model["classes"])), np.float32)
        first = net.first_values(np.random.default_rng([model["seed"], FIRST_VALUES]))
        self.values = torch.zeros(self.layout.size, device=device)
        self._fill(self.values, first)
        self.state = {name: torch.zeros_like(self.values) for name in optimisers.state_names(hparams)}
        if hparams.ema_momentum is not None:
            self.state["average"] = self.values.clone()
        self.moving = {name: torch.tensor(value, device=device) for name, value in net.moving.items()}
        self._answers: dict[int, Answers] = {}
        # Keras's generators of dropout: a checkpoint has their states, and nothing here reads them.
        self._seeds = [np.array([model["seed"], index], np.int64) for index in range(net.order.count("seed"))]

    def _fill(self, flat: Tensor, values: dict[str, np.ndarray]) -> None:
        views = self.layout.views(flat)
        for variable in self.net.variables:
            views[variable.name].copy_(torch.from_numpy(variable.from_keras(values[variable.name])))

    @property
    def answering(self) -> Tensor:
        """The values that it predicts with."""
        return self.state.get("average", self.values)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.answers(self.seen(x)).cpu().numpy()

    def seen(self, x: np.ndarray) -> Tensor:
        """(N, F) as the task gives them → (N, F + 1) as the net sees them, with a last column of 1."""
        ones = np.ones((len(x), 1), np.float32)
        return torch.from_numpy(np.concatenate([self.preparation(x), ones], axis=1, dtype=np.float32)).to(self.device)

    def answers(self, prepared: Tensor) -> Tensor:
        """(N, F + 1) as the net sees them, with a last column of 1 → (N, C) probabilities."""
        batch, values = min(max(len(prepared), 1), ROWS), self.answering
        answers = self._answers.get(batch)
        if answers is None or answers.values is not values:
            features = len(self.model["feature_names"])
            answers = self._answers[batch] = Answers(self.net, self.layout, values, self.moving, features, batch)
        return answers.of(prepared)

    def num_weights(self) -> int:
        return sum(variable.size for variable in self.net.variables) + sum(v.size for v in self.net.moving.values())

    def snapshot(self) -> VectorMember:
        kept = copy.copy(self)
        kept.own()
        return kept

    def own(self) -> None:
        """Have memory of its own, not that of a stack."""
        self.values = self.values.clone()
        self.state = {name: value.clone() for name, value in self.state.items()}
        self.moving = {name: value.clone() for name, value in self.moving.items()}
        self._answers = {}

    def _arrays(self) -> Iterator[np.ndarray]:
        """What a Keras checkpoint has, in its order (keras_training/classifier.py)."""
        net, seeds = self.net, iter(self._seeds)
        values = self._in_keras(self.values)
        for name in net.order:
            if name == "seed":
                yield next(seeds)
            else:
                yield values[name] if name in values else self.moving[name].cpu().numpy().reshape(-1)
        yield np.array(self.step, np.int64)
        yield np.array(self.rate, np.float32)
        names = [variable.name for variable in net.variables]
        states = {name: self._in_keras(value) for name, value in self.state.items()}
        for state, variable in optimisers.state_order(self.hparams, names):
            yield states[state][variable]
        if "average" in states:
            yield from (states["average"][name] for name in names)

    def _in_keras(self, flat: Tensor) -> dict[str, np.ndarray]:
        views = self.layout.views(flat.cpu())
        return {variable.name: variable.to_keras(views[variable.name].numpy()) for variable in self.net.variables}

    def save(self, directory: Path) -> None:
        state = {f"variable_{i}": value for i, value in enumerate(self._arrays())}
        write_checkpoint(directory, {**self.model, "epoch": self.epoch}, {**state, **self._statistics})

    def load(self, directory: Path) -> None:
        model, arrays = read_checkpoint(directory)
        written = (arrays[f"variable_{i}"] for i in itertools.count())
        names, values = [variable.name for variable in self.net.variables], dict[str, np.ndarray]()
        seeds: list[np.ndarray] = []
        for name in self.net.order:
            if name == "seed":
                seeds.append(next(written).astype(np.int64))
            else:
                values[name] = next(written)
        self.step, self.rate = int(next(written)), np.float32(next(written))
        states: dict[str, dict[str, np.ndarray]] = {name: {} for name in self.state}
        for state, variable in optimisers.state_order(self.hparams, names):
            states[state][variable] = next(written)
        if "average" in states:
            states["average"] = {name: next(written) for name in names}
        self._fill(self.values, values)
        for state, of_variables in states.items():
            self._fill(self.state[state], of_variables)
        for name, value in self.moving.items():
            value.copy_(torch.from_numpy(values[name].reshape(-1, 1)))
        self._seeds, self.epoch = seeds, model["epoch"]
