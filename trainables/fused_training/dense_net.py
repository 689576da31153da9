"""The net of `blendshape_dense`: hidden layers with optional batch normalisation and dropout, then logits."""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fersweep.trainables.fused_training.net import Blocks, Mask
from fersweep.trainables.fused_training.program import Program
from fersweep.trainables.fused_training.variables import Variable, kernel

MOMENTUM, EPSILON = 0.99, 1e-3  # of Keras's BatchNormalization


class _Normal(NamedTuple):
    """Of batch normalisation. deviation: 1 / the standard deviation; normal: (z - mean) · deviation."""

    deviation: Tensor
    normal: Tensor


class _Kept(NamedTuple):
    """Of a layer, for the backward pass. x: its input (…, inputs + 1, B); z: the activation's."""

    x: Tensor
    z: Tensor
    answer: Tensor
    mask: Tensor | None
    normal: _Normal | None


class DenseNet:
    """See Net. `hparams`: of trainables/blendshape_dense.py."""

    def __init__(self, hparams: Any, num_features: int, num_classes: int):
        self._h = hparams
        self._widths = [num_features, *hparams.units, num_classes]
        self._num_hidden = len(hparams.units)
        self.key = ("dense", *self._widths, hparams.activation, hparams.batch_norm, hparams.dropout > 0)
        self.variables = list(self._variables())
        self.moving = {
            f"{layer}.{name}": np.full((units, 1), value, np.float32)
            for layer, units in enumerate(hparams.units)
            for name, value in (("mean", 0.0), ("variance", 1.0))
            if hparams.batch_norm
        }
        self.order = list(self._order())

    def _variables(self) -> Iterator[Variable]:
        for layer, (inputs, units) in enumerate(pairwise(self._widths)):
            yield Variable(f"{layer}.kernel", (inputs, units), f"{layer}", regularised=True)
            yield Variable(f"{layer}.bias", (units,), f"{layer}")
            if self._h.batch_norm and layer < self._num_hidden:
                yield Variable(f"{layer}.gamma", (units,), f"{layer}.gamma")
                yield Variable(f"{layer}.beta", (units,), f"{layer}.beta")

    def _order(self) -> Iterator[str]:
        for layer in range(self._num_hidden):
            yield from (f"{layer}.kernel", f"{layer}.bias")
            if self._h.batch_norm:
                yield from (f"{layer}.{name}" for name in ("gamma", "beta", "mean", "variance"))
            if self._h.dropout:
                yield "seed"
        yield from (f"{self._num_hidden}.kernel", f"{self._num_hidden}.bias")

    @property
    def numbers_of_a_face(self) -> int:
        return sum(self._widths) * (5 if self._h.batch_norm else 3)

    def first_values(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        h = self._h
        return {
            variable.name: kernel(h.initializer, h.initializer_range, variable.shape, rng)
            if len(variable.shape) == 2
            else np.full(variable.shape, float(variable.name.endswith("gamma")), np.float32)
            for variable in self.variables
        }

    def masks(self, batch: int) -> list[Mask]:
        h = self._h
        return [Mask(units, batch, h.dropout) for units in h.units] if h.dropout else []

    def forward(
        self, program: Program, blocks: Blocks, moving: Blocks, x: Tensor, masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, list[_Kept]]:
        inputs, kept, batch = x.mT, list[_Kept](), x.shape[-2]
        for layer, units in enumerate(self._h.units):
            z, normal = program.buffer(units, batch), None
            program.product(blocks[f"{layer}"], inputs, out=z)
            if self._h.batch_norm:
                normal = self._normalise(program, blocks, moving, layer, z, masks is not None)
            following = program.inputs(units, batch)
            mask = masks[layer] if masks else None
            answer = following[..., :units, :] if mask is None else program.like(z)
            program.activation(self._h.activation, z, out=answer)
            if mask is not None:
                program.times(answer, mask, out=following[..., :units, :])
            kept.append(_Kept(inputs, z, answer, mask, normal))
            inputs = following
        logits = program.buffer(self._widths[-1], batch)
        program.product(blocks[f"{self._num_hidden}"], inputs, out=logits)
        return logits, [*kept, _Kept(inputs, logits, logits, None, None)]

    def _normalise(
        self, program: Program, blocks: Blocks, moving: Blocks, layer: int, z: Tensor, training: bool
    ) -> _Normal:
        """z = z normalised, in place."""
        running = {name: moving[f"{layer}.{name}"] for name in ("mean", "variance")}
        mean, variance = (torch.zeros_like(value) for value in running.values()) if training else running.values()
        deviation, normal = torch.zeros_like(variance), program.like(z)
        if training:
            program.do(torch.mean, z, -1, keepdim=True, out=mean)
        program.do(torch.sub, z, mean, out=normal)
        if training:
            program.times(normal, normal, out=z)
            program.do(torch.mean, z, -1, keepdim=True, out=variance)
            program.do(running["mean"].lerp_, mean, 1 - MOMENTUM)
            program.do(running["variance"].lerp_, variance, 1 - MOMENTUM)
        program.do(torch.add, variance, EPSILON, out=deviation)
        program.do(deviation.rsqrt_)
        program.do(normal.mul_, deviation)
        program.do(torch.addcmul, blocks[f"{layer}.beta"], normal, blocks[f"{layer}.gamma"], out=z)
        return _Normal(deviation, normal)

    def backward(
        self, program: Program, blocks: Blocks, gradients: Blocks, kept: list[_Kept], gradient: Tensor
    ) -> None:
        for layer in reversed(range(self._num_hidden + 1)):
            of = kept[layer]
            if layer < self._num_hidden:
                if of.mask is not None:
                    program.do(gradient.mul_, of.mask)
                program.slope(self._h.activation, gradient, of.answer, of.z, out=gradient)
                if of.normal is not None:
                    self._through_normalisation(program, blocks, gradients, layer, of.normal, gradient)
            program.product(gradient, of.x.mT, out=gradients[f"{layer}"])
            if (
                of.normal is not None
            ):  # what is added before a mean is subtracted has no gradient but rounding, which Adam
                program.do(gradients[f"{layer}"][..., self._widths[layer] :].zero_)  # would make whole steps of
            if layer:
                inputs = self._widths[layer]
                below = program.buffer(inputs, gradient.shape[-1])
                program.product(blocks[f"{layer}"][..., :inputs].mT, gradient, out=below)
                gradient = below

    def _through_normalisation(
        self, program: Program, blocks: Blocks, gradients: Blocks, layer: int, of: _Normal, gradient: Tensor
    ) -> None:
        """gradient = that of what was normalised, in place: Ioffe & Szegedy 2015, section 3."""
        of_gamma, of_beta, batch = gradients[f"{layer}.gamma"], gradients[f"{layer}.beta"], gradient.shape[-1]
        product, scale, shift = program.like(gradient), torch.zeros_like(of_gamma), torch.zeros_like(of_beta)
        program.times(gradient, of.normal, out=product)
        program.column_sums(product, out=of_gamma)
        program.column_sums(gradient, out=of_beta)
        program.do(torch.div, of_gamma, batch, out=scale)
        program.do(torch.div, of_beta, batch, out=shift)
        program.do(gradient.sub_, shift)
        program.do(gradient.addcmul_, of.normal, scale, value=-1)
        program.times(blocks[f"{layer}.gamma"], of.deviation, out=scale)
        program.do(gradient.mul_, scale)
