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

from fersweep.trainables.fused_training.arithmetic import ACTIVATIONS, affine, product, slope, total
from fersweep.trainables.fused_training.net import Mask, Values
from fersweep.trainables.fused_training.variables import Variable, kernel

MOMENTUM, EPSILON = 0.99, 1e-3  # of Keras's BatchNormalization


class _Kept(NamedTuple):
    """Of a hidden layer, for the backward pass. x: its input; z: the activation's; `deviation`: 1 / the standard deviation of
    the batch; `normal`: (z before it - mean) · deviation.
    """

    x: Tensor
    z: Tensor
    answer: Tensor
    mask: Tensor | None
    deviation: Tensor | None
    normal: Tensor | None


class DenseNet:
    """See Net. `hparams`: of trainables/blendshape_dense.py."""

    def __init__(self, hparams: Any, num_features: int, num_classes: int):
        self._h = hparams
        self._activation, self._normalises = hparams.activation, hparams.batch_norm
        widths = [num_features, *hparams.units, num_classes]
        self._num_hidden = len(hparams.units)
        self.key = ("dense", *widths, self._activation, self._normalises, hparams.dropout > 0)
        self.variables = list(self._variables(widths))
        self.moving = {
            f"{layer}.{name}": np.full((units, 1), value, np.float32)
            for layer, units in enumerate(hparams.units)
            for name, value in (("mean", 0.0), ("variance", 1.0))
            if self._normalises
        }
        self.order = list(self._order())

    def _variables(self, widths: Sequence[int]) -> Iterator[Variable]:
        for layer, (inputs, units) in enumerate(pairwise(widths)):
            yield Variable(f"{layer}.kernel", (inputs, units), regularised=True)
            yield Variable(f"{layer}.bias", (units,))
            if self._normalises and layer < self._num_hidden:
                yield Variable(f"{layer}.gamma", (units,))
                yield Variable(f"{layer}.beta", (units,))

    def _order(self) -> Iterator[str]:
        for layer in range(self._num_hidden):
            yield from (f"{layer}.kernel", f"{layer}.bias")
            if self._normalises:
                yield from (f"{layer}.{name}" for name in ("gamma", "beta", "mean", "variance"))
            if self._h.dropout:
                yield "seed"
        yield from (f"{self._num_hidden}.kernel", f"{self._num_hidden}.bias")

    def first_values(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        h = self._h
        return {
            variable.name: kernel(h.initializer, h.initializer_range, variable.shape, rng)  # type: ignore[arg-type]
            if len(variable.shape) == 2
            else np.full(variable.shape, float(variable.name.endswith("gamma")), np.float32)
            for variable in self.variables
        }

    def masks(self, batch: int) -> list[Mask]:
        h = self._h
        return [Mask(units, batch, h.dropout) for units in h.units] if h.dropout else []

    def forward(
        self, values: Values, moving: Values, x: Tensor, masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, list[_Kept]]:
        hidden, kept = x.mT, list[_Kept]()
        for layer in range(self._num_hidden):
            z, deviation, normal = affine(values[f"{layer}.bias"], values[f"{layer}.kernel"], hidden), None, None
            if self._normalises:
                z, deviation, normal = self._normalised(values, moving, layer, z, masks is not None)
            answer = ACTIVATIONS[self._activation](z)
            mask = masks[layer] if masks else None
            kept.append(_Kept(hidden, z, answer, mask, deviation, normal))
            hidden = answer if mask is None else answer * mask
        last = self._num_hidden
        logits = affine(values[f"{last}.bias"], values[f"{last}.kernel"], hidden)
        return logits, [*kept, _Kept(hidden, logits, logits, None, None, None)]

    def _normalised(
        self, values: Values, moving: Values, layer: int, z: Tensor, training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        if training:
            variance, mean = torch.var_mean(z, -1, correction=0, keepdim=True)
            for name, now in (("mean", mean), ("variance", variance)):
                moving[f"{layer}.{name}"].lerp_(now, 1 - MOMENTUM)
        else:
            mean, variance = moving[f"{layer}.mean"], moving[f"{layer}.variance"]
        deviation = torch.rsqrt(variance + EPSILON)
        normal = (z - mean) * deviation
        return torch.addcmul(values[f"{layer}.beta"], normal, values[f"{layer}.gamma"]), deviation, normal

    def backward(self, values: Values, gradients: Values, kept: list[_Kept], gradient: Tensor) -> None:
        for layer in reversed(range(self._num_hidden + 1)):
            of = kept[layer]
            if layer < self._num_hidden:
                if of.mask is not None:
                    gradient = gradient.mul_(of.mask)
                gradient = slope(self._activation, gradient, of.answer, of.z)
                if of.deviation is not None and of.normal is not None:
                    gradient = self._through_normalisation(values, gradients, layer, of.deviation, of.normal, gradient)
            product(gradient, of.x.mT, out=gradients[f"{layer}.kernel"])
            total(gradient, out=gradients[f"{layer}.bias"])
            if layer:
                gradient = product(values[f"{layer}.kernel"].mT, gradient)

    def _through_normalisation(
        self, values: Values, gradients: Values, layer: int, deviation: Tensor, normal: Tensor, gradient: Tensor
    ) -> Tensor:
        """Ioffe & Szegedy 2015, section 3."""
        total(gradient * normal, out=gradients[f"{layer}.gamma"])
        total(gradient, out=gradients[f"{layer}.beta"])
        size = gradient.shape[-1]
        of_mean, of_normal = gradients[f"{layer}.beta"] / size, gradients[f"{layer}.gamma"] / size
        return (gradient - of_mean - normal * of_normal).mul_(values[f"{layer}.gamma"] * deviation)
