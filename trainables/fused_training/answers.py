"""Answers of one member, or of a stack at once."""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import torch
from torch import Tensor

from fersweep.trainables.fused_training.net import Blocks, Net
from fersweep.trainables.fused_training.program import Program
from fersweep.trainables.fused_training.variables import Layout

ROWS = 1024  # of faces that are predicted at once: their activations stay in the cache


class Answers:
    """A program that predicts with `values` (P,) of one member, or (K, P), as they are whenever it is asked. `batch`: of faces."""

    def __init__(self, net: Net, layout: Layout, values: Tensor, moving: Blocks, num_features: int, batch: int):
        self.values, self._lead, self._batch = values, values.shape[:-1], batch
        self._program = Program(tuple(self._lead), values.device)
        self._faces = torch.zeros(batch, num_features + 1, device=values.device)
        seen = self._faces.expand(*self._lead, *self._faces.shape)  # all members see the same faces
        self._logits, _ = net.forward(self._program, layout.blocks(values), moving, seen, None)

    def of(self, prepared: Tensor) -> Tensor:
        """(N, F + 1) as the net sees them, with a last column of 1 → (…, N, C) probabilities."""
        num = len(prepared)
        answers = torch.zeros(*self._lead, num, self._logits.shape[-2], device=prepared.device)
        with torch.inference_mode():
            for start in range(0, num, self._batch):
                rows = prepared[start : start + self._batch]
                self._faces[: len(rows)].copy_(rows)
                self._program.run()
                answers[..., start : start + len(rows), :] = torch.softmax(self._logits, -2).mT[..., : len(rows), :]
        return answers
