"""Members of one shape that are trained as one: each step is the same for all of them, on matrices with an axis of members.

A stack of one has no such axis: on a CPU that is the fastest way, as a small net's numbers then stay in the cache
(benchmarks/models/fused.py). On a GPU the launch of an operation takes longer than the operation, and a stack shares it.

Shapes: K members, S steps of an epoch, B faces of a batch, C classes, P variables' numbers.
"""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.batches import epoch_order, face_weights
from fersweep.trainables.fused_training import optimisers
from fersweep.trainables.fused_training.dropout import Masks
from fersweep.trainables.fused_training.member import VectorMember
from fersweep.trainables.fused_training.optimisers import Number


def key(member: VectorMember, num_faces: int) -> tuple[Any, ...]:
    """Members of one key can be in one stack."""
    h = member.hparams
    optimizer = "adam" if h.optimizer == "adamw" else h.optimizer
    view = (h.transform, member.preparation.standardises)
    flags = (h.clipnorm is None, h.weight_decay == 0, h.l2 == 0, h.label_smoothing == 0)
    return (
        *member.net.key,
        min(h.batch_size, num_faces),
        optimizer,
        optimisers.state_names(h),
        h.ema_momentum is None,
        *view,
        *flags,
    )


def learning_rates(hparams: Any, epoch: int, num_steps: int) -> np.ndarray:
    """(S,) float32 of the epoch after `epoch` ones."""
    progress = np.minimum((epoch + np.arange(num_steps) / num_steps) / hparams.schedule_epochs, 1.0)
    factor = {
        "constant": np.ones_like(progress),
        "cosine": 0.5 * (1 + np.cos(math.pi * progress)),
        "exponential": 0.01**progress,
    }[hparams.schedule]
    return (hparams.learning_rate * factor).astype(np.float32)


class Stack:
    """`members`: of one key. `x`: train's faces (N, F) as these members see them. It takes their values over."""

    def __init__(self, members: Sequence[VectorMember], arrays: TaskArrays, x: Tensor, targets: Tensor):
        self.members, self._arrays, self._x, self._targets = list(members), arrays, x, targets
        first = members[0]
        self._h, self._net, self._device = first.hparams, first.net, first.device
        self._batch = min(self._h.batch_size, len(arrays.train.y))
        self._num_steps = len(arrays.train.y) // self._batch
        self._take_over()
        layout = first.layout
        self._gradient = torch.zeros(*self._values.shape[:-1], layout.num_trained, device=self._device)
        self._views, self._slopes = layout.views(self._values), layout.views(self._gradient)
        self._trained = self._values[..., : layout.num_trained]
        self._trained_state = {
            name: value[..., : layout.num_trained] for name, value in self._state.items() if name != "average"
        }
        self._numbers()
        self._weights = [face_weights(arrays, member.hparams.class_weights) for member in members]

    def _take_over(self) -> None:
        members = self.members
        if len(members) == 1:
            self._values, self._state, self._moving = members[0].values, members[0].state, members[0].moving
            return
        self._values = torch.stack([member.values for member in members])
        self._state = {name: torch.stack([m.state[name] for m in members]) for name in members[0].state}
        self._moving = {name: torch.stack([m.moving[name] for m in members]) for name in members[0].moving}
        for index, member in enumerate(members):
            member.values = self._values[index]
            member.state = {name: value[index] for name, value in self._state.items()}
            member.moving = {name: value[index] for name, value in self._moving.items()}

    def _numbers(self) -> None:
        """What differs from member to member and never changes."""
        self._beta_1 = self._each(lambda h: h.beta_1)
        self._rest = self._each(lambda h: 1 - h.beta_1)
        self._smoothing = self._each(lambda h: h.label_smoothing, 2) if self._h.label_smoothing else None
        self._of_average = self._each(lambda h: 1 - h.ema_momentum) if "average" in self._state else None
        regularised = {variable.name for variable in self._net.variables if variable.regularised}
        l2, which = (
            self._each(lambda h: 2 * h.l2),
            torch.zeros_like(self._gradient[:1] if self._gradient.ndim == 2 else self._gradient),
        )
        for name, view in self.members[0].layout.views(which).items():
            view.fill_(float(name in regularised))
        self._l2 = which * l2 if self._h.l2 else None
        self._clipnorm = self._each(lambda h: h.clipnorm) if self._h.clipnorm is not None else None
        if self._clipnorm is not None:
            trained = [variable for variable in self._net.variables if not variable.idle]
            self._of_variable = torch.zeros(len(trained), self._gradient.shape[-1], device=self._device)
            for row, variable in enumerate(trained):
                start, end, _ = self.members[0].layout.places[variable.name]
                self._of_variable[row, start:end] = 1

    def _each(self, number: Callable[[Any], float], num_axes: int = 1) -> Number:
        """A number of each member: itself of one, else (K, 1) or (K, 1, 1)."""
        if len(self.members) == 1:
            return float(number(self._h))
        numbers = torch.tensor([number(member.hparams) for member in self.members], device=self._device)
        return numbers.view(-1, *[1] * num_axes)

    def _columns(self, rows: Sequence[np.ndarray]) -> Sequence[Number]:
        """Of each member (S,) → of each step, a number of each member."""
        if len(rows) == 1:
            return rows[0].tolist()
        return list(torch.from_numpy(np.stack(rows, 1)[..., None]).to(self._device))

    def _on_device(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """Of each member (S, …) → (S, K, …), of one (S, …)."""
        return torch.from_numpy(arrays[0] if len(arrays) == 1 else np.stack(arrays, 1)).to(self._device)

    def train_epoch(self) -> list[float]:
        """Train one epoch → each member's mean loss."""
        members, num_steps = self.members, self._num_steps
        orders: list[np.ndarray] = []
        for member in members:
            rng = np.random.default_rng([member.model["seed"], member.epoch])
            orders.append(epoch_order(self._arrays.train.y, self._batch, False, rng))
        weights = [
            (weight[order] / self._batch).astype(np.float32)
            for weight, order in zip(self._weights, orders, strict=True)
        ]
        rates = [learning_rates(member.hparams, member.epoch, num_steps) for member in members]
        sizes = [optimisers.step_sizes(m.hparams, rate, m.step) for m, rate in zip(members, rates, strict=True)]
        decays = [1 - member.hparams.weight_decay * rate for member, rate in zip(members, rates, strict=True)]
        with torch.inference_mode():
            loss = self._run(
                self._on_device(orders), self._on_device(weights), self._columns(sizes), self._columns(decays)
            )
        for member, rate in zip(members, rates, strict=True):
            member.epoch, member.step, member.rate = member.epoch + 1, member.step + num_steps, rate[-1]
        return (loss / num_steps).reshape(-1).tolist()

    def _run(self, order: Tensor, weight: Tensor, sizes: Sequence[Number], decays: Sequence[Number]) -> Tensor:
        loss = torch.zeros(self._values.shape[:-1], device=self._device)
        for step, masks in enumerate(self._masks()):
            rows = order[step]
            x = self._x.index_select(0, rows.reshape(-1)).unflatten(0, rows.shape)
            targets = self._targets.index_select(0, rows.reshape(-1)).unflatten(0, rows.shape)
            if self._smoothing is not None:
                targets = targets * (1 - self._smoothing) + self._smoothing / targets.shape[-1]
            targets = targets.mT
            logits, kept = self._net.forward(self._views, self._moving, x, masks)
            logs, weights = torch.log_softmax(logits, -2), weight[step].unsqueeze(-2)
            loss -= (targets * logs).mul_(weights).sum((-2, -1))
            if self._l2 is not None:
                self._gradient.zero_()  # of gates that have nothing to do, too
            self._net.backward(self._views, self._slopes, kept, logs.exp_().sub_(targets).mul_(weights))
            if self._l2 is not None:
                change = self._l2 * self._trained
                loss += (change * self._trained).sum(-1) / 2
                self._gradient.add_(change)
            self._clip()
            if self._h.weight_decay:
                self._values.mul_(decays[step])
            optimisers.update(
                self._h.optimizer,
                self._trained,
                self._gradient,
                self._trained_state,
                self._beta_1,
                self._rest,
                sizes[step],
            )
            if self._of_average is not None:
                self._state["average"].lerp_(self._values, self._of_average)
        return loss

    def _clip(self) -> None:
        """Clip each variable's gradient on its own, as Keras's clipnorm does."""
        if self._clipnorm is not None:
            norms = torch.sqrt((self._gradient * self._gradient) @ self._of_variable.mT)
            scales = (self._clipnorm / norms).clamp_(max=1)
            self._gradient.mul_(scales @ self._of_variable)

    def _masks(self) -> Iterator[list[Tensor]]:
        """Of each step."""
        wanted = [
            Masks(member.net.masks(self._batch), member.model["seed"], member.epoch, self._num_steps, self._device)
            for member in self.members
        ]
        if len(wanted) == 1:
            yield from wanted[0]
            return
        for of_members in zip(*wanted, strict=True):
            yield [torch.stack(masks) for masks in zip(*of_members, strict=True)]
