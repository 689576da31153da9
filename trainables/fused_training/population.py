"""Several nets of vectors that train at once (trainables/population.py): members of one shape as one stack.

Members of other shapes train one after another. What they all save is what a framework does for each model anew: a graph that is
traced, layers that do not know that there is a single step, an optimizer for each variable.
"""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.fused_training.answers import ROWS
from fersweep.trainables.fused_training.member import VectorMember
from fersweep.trainables.fused_training.net import Net
from fersweep.trainables.fused_training.optimisers import state_names
from fersweep.trainables.fused_training.program import multiplies_with_numpy
from fersweep.trainables.fused_training.stack import Stack, key
from fersweep.trainables.metrics import EpochMetrics
from fersweep.trainables.population import Member, Points, val_metrics_of_members
from fersweep.trainables.protocol import TrialFailed, check_finite
from fersweep.trainables.saved_model import describe_model
from fersweep.trainables.torch_training.device import is_out_of_memory, open_device
from fersweep.trainables.vectors import Preparation, train_statistics

MOST_STACKED = {"cpu": 4, "cuda": 256}  # members of a stack: measured by benchmarks/models/fused.py, on a GPU not yet


class VectorPopulation:
    """`make_net(hparams, num_features, num_classes)` gives a member's net; `name`: of the trainable."""

    def __init__(
        self,
        name: str,
        hparams_type: Callable[..., Any],
        make_net: Callable[[Any, int, int], Net],
        points: Points,
        arrays: TaskArrays,
        most_stacked: int | None = None,
    ):
        self._name, self._hparams_type, self._make_net, self._arrays = name, hparams_type, make_net, arrays
        self._device = open_device()
        if multiplies_with_numpy(self._device):
            threadpool_limits(1, user_api="blas")
            # In a forked process PyTorch's expm1, so its selu, takes 7 to 12 times as long until MKL has multiplied once: measured
            # with PyTorch 2.15 on Linux 6.18 in a virtual machine, cause unknown.
            torch.ones(2, 2).mm(torch.ones(2, 2))
        torch.set_flush_denormal(True)  # as TensorFlow does
        self._most_stacked = most_stacked or MOST_STACKED.get(self._device.type, 1)
        self._statistics: dict[str, dict[str, np.ndarray]] = {}
        self._faces: dict[tuple[str, bool], tuple[Tensor, Tensor]] = {}
        self._stacks: dict[tuple[int, ...], Stack] = {}
        self.members: list[VectorMember] = []
        for hparams, seed in points:
            self.add(hparams, seed)

    def add(self, hparams: dict[str, Any], seed: int) -> VectorMember:
        h, arrays = self._hparams_type(**hparams), self._arrays
        if h.transform not in self._statistics:
            self._statistics[h.transform] = train_statistics(arrays.train.x, arrays.feature_names, h.transform)
        statistics = self._statistics[h.transform]
        preparation = Preparation(arrays.feature_names, statistics, h.transform, h.standardise)
        net = self._make_net(h, len(arrays.feature_names), len(arrays.classes))
        model = describe_model(self._name, h, arrays, seed)
        self.members.append(VectorMember(net, h, model, statistics, preparation, self._device))
        return self.members[-1]

    def remove(self, members: Collection[Member]) -> None:
        for member in self.members:
            if member in members:
                member.own()
        self.members = [member for member in self.members if member not in members]

    def fit(self) -> list[EpochMetrics | TrialFailed]:
        rows: dict[int, EpochMetrics | TrialFailed] = {}
        before, self._stacks = self._stacks, {}
        for members in self._groups():
            try:
                ids = tuple(map(id, members))
                stack = before.get(ids) or Stack(members, self._arrays, self._seen(members[0])[0])
                self._stacks[ids] = stack
                of_members = self._trained(stack)
            except RuntimeError as error:
                if len(members) > 1 or not is_out_of_memory(error):
                    raise
                of_members = [TrialFailed(f"out of memory: {str(error).splitlines()[0]}")]
            rows |= {id(member): row for member, row in zip(members, of_members, strict=True)}
        return [rows[id(member)] for member in self.members]

    def _trained(self, stack: Stack) -> list[EpochMetrics | TrialFailed]:
        start = time.perf_counter()
        losses, scores = stack.train_epoch(), self._evaluated(stack)
        seconds = (time.perf_counter() - start) / len(losses)
        return [
            _checked({"epoch": member.epoch, "train_loss": loss, **row, "epoch_s": seconds})
            for member, loss, row in zip(stack.members, losses, scores, strict=True)
        ]

    def _groups(self) -> list[list[VectorMember]]:
        """The present members, those of one shape together."""
        of_key: dict[tuple[Any, ...], list[VectorMember]] = {}
        for member in self.members:
            of_key.setdefault(key(member, len(self._arrays.train.y)), []).append(member)
        most = self._most_stacked
        return [group[start : start + most] for group in of_key.values() for start in range(0, len(group), most)]

    def _seen(self, member: VectorMember) -> tuple[Tensor, Tensor]:
        """Train's and val's faces as the member sees them; those of one view are there once."""
        h = member.hparams
        view = (h.transform, h.standardise)
        if view not in self._faces:
            self._faces[view] = (member.seen(self._arrays.train.x), member.seen(self._arrays.val.x))
        return self._faces[view]

    def _evaluated(self, stack: Stack) -> list[EpochMetrics]:
        """Each member's loss and scores on val."""
        answers = stack.answers(self._seen(stack.members[0])[1]).cpu().numpy()
        for member, probabilities in zip(stack.members, answers, strict=True):
            member.val_probabilities = probabilities
        return val_metrics_of_members(answers, self._arrays.val.y)


def _checked(row: EpochMetrics) -> EpochMetrics | TrialFailed:
    try:
        check_finite(row)
    except TrialFailed as failure:
        return failure
    return row


def net_bytes(make_net: Callable[[Any, int, int], Net], hparams: Any, arrays: TaskArrays) -> int:
    """About what a member takes: its variables, gradients and their optimizer's state, and the memory of its programs."""
    num_features, num_faces = len(arrays.feature_names), len(arrays.train.y)
    net = make_net(hparams, num_features, len(arrays.classes))
    copies = 3 + len(state_names(hparams)) + (hparams.ema_momentum is not None)
    batch = min(hparams.batch_size, num_faces)
    numbers = copies * sum(variable.size for variable in net.variables)
    numbers += (2 * batch + ROWS) * net.numbers_of_a_face
    numbers += num_faces * (2 * len(arrays.classes) + 4)  # an epoch's order, weights and targets
    return 4 * numbers
