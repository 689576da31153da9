"""Members of one shape that are trained as one: each operation of a step is done for all of them.

They share what an operation costs whatever its size: on a GPU its launch takes longer than the operation itself. On a CPU small nets
gain from a few; with more, their numbers leave the cache (benchmarks/models/fused.py).

Shapes: K members, S steps of an epoch, B faces of a batch, F features, C classes, P numbers of a member's variables.
"""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.batches import epoch_order, face_targets, face_weights
from fersweep.trainables.fused_training import optimisers
from fersweep.trainables.fused_training.answers import ROWS, Answers
from fersweep.trainables.fused_training.dropout import Masks
from fersweep.trainables.fused_training.member import VectorMember
from fersweep.trainables.fused_training.optimisers import Number
from fersweep.trainables.fused_training.program import Program


def key(member: VectorMember, num_faces: int) -> tuple[Any, ...]:
    """Members of one key can be in one stack."""
    h = member.hparams
    optimizer = "adam" if h.optimizer == "adamw" else h.optimizer
    switches = (h.transform, h.standardise, h.clipnorm is None, h.weight_decay == 0, h.l2 == 0, h.ema_momentum is None)
    return (*member.net.key, min(h.batch_size, num_faces), optimizer, optimisers.state_names(h), *switches)


class Stack:
    """`members`: of one key; it takes their values over. `x`: train's faces (N, F + 1) as they see them, with a last column of 1."""

    def __init__(self, members: Sequence[VectorMember], arrays: TaskArrays, x: Tensor):
        self.members, self._arrays, self._x, self._device = list(members), arrays, x, x.device
        self._h, self._net, self._layout = members[0].hparams, members[0].net, members[0].layout
        self._batch = min(self._h.batch_size, len(arrays.train.y))
        self._num_steps = len(arrays.train.y) // self._batch
        self._lead = () if len(members) == 1 else (len(members),)
        self._take_over()
        self._gradient = torch.zeros(*self._lead, self._layout.num_trained, device=self._device)
        self._trained = self._values[..., : self._layout.num_trained]
        kept = {
            name: value[..., : self._layout.num_trained] for name, value in self._state.items() if name != "average"
        }
        self._optimiser = optimisers.make_optimiser([m.hparams for m in members], self._trained, self._gradient, kept)
        self._answers: Answers | None = None
        self._numbers()
        self._wanted = [self._weighted_targets(member) for member in members]
        self._compile()

    def _weighted_targets(self, member: VectorMember) -> tuple[np.ndarray, np.ndarray]:
        """(N,) weights of train's faces in a step's mean loss, and (N, C) their smoothed targets times these, float32."""
        arrays, smoothing = self._arrays, member.hparams.label_smoothing
        weight = (face_weights(arrays, member.hparams.class_weights) / self._batch).astype(np.float32)
        wanted = face_targets(arrays) * (1 - smoothing) + smoothing / len(arrays.classes)
        return weight, (wanted * weight[:, None]).astype(np.float32)

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
        h, layout, device = self._h, self._layout, self._device
        trained = [variable for variable in self._net.variables if not variable.idle]
        self._of_average = None if h.ema_momentum is None else self._optimiser.each(lambda h: 1 - h.ema_momentum)
        self._l2 = self._clip = None
        if h.l2:
            which = torch.zeros(layout.num_trained, device=device)
            views = layout.views(which)
            for variable in trained:
                views[variable.name].fill_(float(variable.regularised))
            self._l2 = which * self._optimiser.each(lambda h: 2 * h.l2)
        if h.clipnorm is not None:
            views = layout.views(self._gradient)
            parts = [views[variable.name] for variable in trained]
            self._clip = optimisers.Clip(self._gradient, parts, [member.hparams.clipnorm for member in self.members])

    def _compile(self) -> None:
        """The program of a step: from faces to gradients."""
        program, classes = Program(self._lead, self._device), len(self._arrays.classes)
        blocks, gradients = self._layout.blocks(self._values), self._layout.blocks(self._gradient)
        self._faces = program.buffer(self._batch, self._x.shape[-1])
        self._weight, self._target = program.buffer(1, self._batch), program.buffer(classes, self._batch)
        self._loss = program.buffer(classes, self._batch)
        self._masks = Masks([member.net.masks(self._batch) for member in self.members], self._device)
        logits, kept = self._net.forward(program, blocks, self._moving, self._faces, self._masks.tensors)
        logs = program.like(logits)
        program.do(torch.log_softmax, logits, -2, out=logs)
        program.do(self._loss.addcmul_, self._target, logs, value=-1)
        program.do(torch.exp, logs, out=logits)
        program.do(logits.mul_, self._weight)
        program.do(logits.sub_, self._target)
        if self._l2 is not None:
            program.do(self._gradient.zero_)  # of gates that have nothing to do, too
        self._net.backward(program, blocks, gradients, kept, logits)
        self._program = program

    def _on_device(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """Of each member (S, …) → (S, K, …), of one (S, …)."""
        return torch.from_numpy(arrays[0] if len(arrays) == 1 else np.stack(arrays, 1)).to(self._device)

    def train_epoch(self) -> list[float]:
        """Train one epoch → each member's mean loss."""
        members, num_steps = self.members, self._num_steps
        orders, weights, targets = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        for member, (weight, weighted) in zip(members, self._wanted, strict=True):
            rng = np.random.default_rng([member.model["seed"], member.epoch])
            order = epoch_order(self._arrays.train.y, self._batch, False, rng)
            orders.append(order)
            weights.append(weight[order][:, None])
            targets.append(np.ascontiguousarray(weighted[order].transpose(0, 2, 1)))
        rates = [member.hparams.learning_rates(member.epoch, num_steps) for member in members]
        self._optimiser.start(rates, [member.step for member in members])
        decays = [1 - member.hparams.weight_decay * rate for member, rate in zip(members, rates, strict=True)]
        self._masks.start([(member.model["seed"], member.epoch) for member in members], num_steps)
        with torch.inference_mode():
            faces = [self._on_device(arrays) for arrays in (orders, weights, targets)]
            loss = self._run(faces[0], faces[1], faces[2], self._optimiser.by_step(decays))
        for member, rate in zip(members, rates, strict=True):
            member.epoch, member.step, member.rate = member.epoch + 1, member.step + num_steps, rate[-1]
        return (loss / num_steps).reshape(-1).tolist()

    def answers(self, prepared: Tensor) -> Tensor:
        """(N, F + 1) as the members see them → (K, N, C) probabilities."""
        if not self._lead:
            return self.members[0].answers(prepared).unsqueeze(0)
        if self._answers is None:
            values, batch = self._state.get("average", self._values), min(len(prepared), ROWS)
            self._answers = Answers(self._net, self._layout, values, self._moving, self._x.shape[-1] - 1, batch)
        return self._answers.of(prepared)

    def _run(self, orders: Tensor, weights: Tensor, targets: Tensor, decays: Sequence[Number]) -> Tensor:
        faces = self._faces.view(-1, self._faces.shape[-1])
        penalty = torch.zeros(self._lead, device=self._device)
        self._loss.zero_()
        for step, (order, weight, target) in enumerate(zip(orders.flatten(1), weights, targets, strict=True)):
            torch.index_select(self._x, 0, order, out=faces)
            self._weight.copy_(weight)
            self._target.copy_(target)
            self._masks.draw(step)
            self._program.run()
            if self._l2 is not None:
                change = self._l2 * self._trained
                penalty += (change * self._trained).sum(-1) / 2
                self._gradient.add_(change)
            if self._clip is not None:
                self._clip.clip()
            if self._h.weight_decay:
                self._values.mul_(decays[step])
            self._optimiser.step(step)
            if self._of_average is not None:
                self._state["average"].lerp_(self._values, self._of_average)
        return self._loss.sum((-2, -1)) + penalty
