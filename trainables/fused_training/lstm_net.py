"""The net of `blendshape_lstm`: stacked LSTM layers, then logits.

Layout `features` is one step. There the recurrent kernel multiplies zeros and the forget gate a carry of zeros: neither is
computed, and the answer is the same. In layout `steps` the cell is scanned over a face's features.

Shapes: T steps, U units, B faces. Gates: see variables.py.
"""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fersweep.trainables.fused_training.arithmetic import ACTIVATIONS, add_product, affine, product, slope, total
from fersweep.trainables.fused_training.net import Mask, Values
from fersweep.trainables.fused_training.variables import Variable, kernel, orthogonal


class _Step(NamedTuple):
    """Of one step of a cell, for the backward pass. x: its input; gates: input and output gate (…, 2U, B); carry: after it;
    shown: the carry's activation; before, hidden: carry and (masked) output before it; None in the first step.
    """

    x: Tensor
    gates: Tensor
    cell: Tensor
    shown: Tensor
    forget: Tensor | None
    before: Tensor | None
    hidden: Tensor | None


class _Kept(NamedTuple):
    """Of a layer in one direction: its steps in the order in which it took them, and its masks."""

    steps: list[_Step]
    mask: Tensor | None
    recurrent_mask: Tensor | None


class LSTMNet:
    """See Net. `hparams`: of trainables/blendshape_lstm.py."""

    def __init__(self, hparams: Any, num_features: int, num_classes: int):
        self._h = hparams
        self._activation, self._units = hparams.activation, hparams.units
        self._num_steps = 1 if hparams.layout == "features" else num_features
        self._directions = ("forward", "backward") if hparams.bidirectional else ("forward",)
        first = num_features if hparams.layout == "features" else 1
        self._inputs = [first, *(units * len(self._directions) for units in hparams.units)]
        dropped = (hparams.dropout > 0, hparams.recurrent_dropout > 0 and self._num_steps > 1)
        self.key = (
            "lstm",
            self._num_steps,
            first,
            *hparams.units,
            num_classes,
            self._activation,
            self._directions,
            dropped,
        )
        self.variables = [*self._cells(), *self._head(num_classes)]
        self.moving: dict[str, np.ndarray] = {}
        self.order = list(self._order())

    def _cells(self) -> Iterator[Variable]:
        for layer, units in enumerate(self._units):
            for way in self._directions:
                yield Variable(f"{layer}.{way}.kernel", (self._inputs[layer], 4 * units), gated=True, regularised=True)
                yield Variable(f"{layer}.{way}.recurrent", (units, 4 * units), gated=True, idle=self._num_steps == 1)
                yield Variable(f"{layer}.{way}.bias", (4 * units,), gated=True)

    def _head(self, num_classes: int) -> Iterator[Variable]:
        yield Variable("head.kernel", (self._inputs[-1], num_classes), regularised=True)
        yield Variable("head.bias", (num_classes,))

    def _order(self) -> Iterator[str]:
        for variable in self.variables:
            yield variable.name
            if variable.name.endswith("bias") and variable.name != "head.bias":
                yield "seed"

    def first_values(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        h, values = self._h, dict[str, np.ndarray]()
        for variable in self.variables:
            if variable.name.endswith("recurrent"):
                value = orthogonal(variable.shape, rng)  # type: ignore[arg-type]
            elif variable.name.endswith("kernel"):
                value = kernel(h.initializer, h.initializer_range, variable.shape, rng)  # type: ignore[arg-type]
            else:
                value = np.zeros(variable.shape, np.float32)
                if variable.gated:  # forget nothing at first, as Keras does
                    value.reshape(4, -1)[1] = 1
            values[variable.name] = value
        return values

    def masks(self, batch: int) -> list[Mask]:
        """Of each layer and direction: of its input, and of its output on the way to its next step."""
        h, masks = self._h, list[Mask]()
        for layer, units in enumerate(self._units):
            for _ in self._directions:
                if h.dropout:
                    inputs = self._inputs[layer]
                    masks.append(Mask(inputs, batch, h.dropout) if layer else Mask(batch, inputs, h.dropout))
                if h.recurrent_dropout and self._num_steps > 1:
                    masks.append(Mask(units, batch, h.recurrent_dropout))
        return masks

    def forward(
        self, values: Values, moving: Values, x: Tensor, masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, list[list[_Kept]]]:
        drawn, kept = iter(masks or ()), list[list[_Kept]]()
        # Of the first layer, faces are rows in memory; what is multiplied is its transpose.
        steps = [x] if self._num_steps == 1 else [x[..., step : step + 1] for step in range(self._num_steps)]
        for layer in range(len(self._units)):
            outputs, of_layer = list[list[Tensor]](), list[_Kept]()
            for way in self._directions:
                mask = next(drawn) if masks and self._h.dropout else None
                recurrent = next(drawn) if masks and self._h.recurrent_dropout and self._num_steps > 1 else None
                ordered = steps if way == "forward" else steps[::-1]
                inputs = ordered if mask is None else [step * mask for step in ordered]
                if layer == 0:
                    inputs = [step.mT for step in inputs]
                hidden, scanned = self._scan(values, f"{layer}.{way}", inputs, recurrent)
                outputs.append(hidden if way == "forward" else hidden[::-1])
                of_layer.append(_Kept(scanned, mask, recurrent))
            kept.append(of_layer)
            steps = outputs[0] if len(outputs) == 1 else [torch.cat(pair, -2) for pair in zip(*outputs, strict=True)]
            if layer == len(self._units) - 1 and len(outputs) == 2:  # the last output of each direction
                steps = [torch.cat((outputs[0][-1], outputs[1][0]), -2)]
        last = steps[-1]
        logits = affine(values["head.bias"], values["head.kernel"], last)
        kept.append([_Kept([_Step(last, logits, logits, logits, None, None, None)], None, None)])
        return logits, kept

    def _scan(
        self, values: Values, cell: str, inputs: Sequence[Tensor], mask: Tensor | None
    ) -> tuple[list[Tensor], list[_Step]]:
        kernel, bias, units = values[f"{cell}.kernel"], values[f"{cell}.bias"], values[f"{cell}.bias"].shape[-2] // 4
        act, hidden, carry = ACTIVATIONS[self._activation], None, None
        outputs, kept = list[Tensor](), list[_Step]()
        for x in inputs:
            forget = None
            if hidden is None:
                z = affine(bias[..., : 3 * units, :], kernel[..., : 3 * units, :], x)
            else:
                hidden = hidden if mask is None else hidden * mask
                z = add_product(affine(bias, kernel, x), values[f"{cell}.recurrent"], hidden)
                forget = z[..., 3 * units :, :].sigmoid_()
            gates, candidate = z[..., : 2 * units, :].sigmoid_(), act(z[..., 2 * units : 3 * units, :])
            before, carry = carry, gates[..., :units, :] * candidate
            if forget is not None and before is not None:
                carry.addcmul_(forget, before)
            shown = act(carry.clone() if len(inputs) > 1 else carry)
            kept.append(_Step(x, gates, candidate, shown, forget, before, hidden))
            hidden = gates[..., units:, :] * shown
            outputs.append(hidden)
        return outputs, kept

    def backward(self, values: Values, gradients: Values, kept: list[list[_Kept]], gradient: Tensor) -> None:
        last = kept[-1][0].steps[0].x
        product(gradient, last.mT, out=gradients["head.kernel"])
        total(gradient, out=gradients["head.bias"])
        of_last = product(values["head.kernel"].mT, gradient)
        units, num_steps = self._units[-1], self._num_steps
        # Gradients of each direction's outputs, in the order in which it made them; None: there is none.
        flows: list[list[Tensor | None]] = [
            [*([None] * (num_steps - 1)), of_last[..., way * units : (way + 1) * units, :]]
            for way in range(len(self._directions))
        ]
        for layer in reversed(range(len(self._units))):
            below = [
                self._back(values, gradients, f"{layer}.{way}", kept[layer][index], flows[index], wants_input=layer > 0)
                for index, way in enumerate(self._directions)
            ]
            if layer == 0:
                return
            if len(below) == 2:  # both read the same steps, in two orders
                below = [[one + other for one, other in zip(below[0], below[1][::-1], strict=True)]]
            units = self._units[layer - 1]
            flows = []
            for index in range(len(self._directions)):
                flow: list[Tensor | None] = [step[..., index * units : (index + 1) * units, :] for step in below[0]]
                flows.append(flow if index == 0 else flow[::-1])

    def _back(
        self,
        values: Values,
        gradients: Values,
        cell: str,
        kept: _Kept,
        flow: Sequence[Tensor | None],
        wants_input: bool,
    ) -> list[Tensor]:
        """Write the gradients of a cell → those of its inputs, in the order in which it read them."""
        name, units = self._activation, gradients[f"{cell}.bias"].shape[-2] // 4
        inputs: list[Tensor] = []
        later = of_carry = None
        for step, given in zip(reversed(kept.steps), reversed(flow), strict=True):
            is_last, is_first = later is None, step.before is None
            of_hidden = given if later is None else later if given is None else later + given
            assert of_hidden is not None
            through = slope(name, of_hidden * step.gates[..., units:, :], step.shown)
            through = through if of_carry is None else through.add_(of_carry)
            rows = 3 * units if is_first else 4 * units
            z = torch.empty(*through.shape[:-2], rows, through.shape[-1], device=through.device)
            torch.mul(through, step.cell, out=z[..., :units, :])
            torch.mul(of_hidden, step.shown, out=z[..., units : 2 * units, :])
            z[..., : 2 * units, :] = torch.ops.aten.sigmoid_backward(z[..., : 2 * units, :], step.gates)
            z[..., 2 * units : 3 * units, :] = slope(name, through * step.gates[..., :units, :], step.cell)
            if step.forget is not None and step.before is not None and step.hidden is not None:
                z[..., 3 * units :, :] = torch.ops.aten.sigmoid_backward(through * step.before, step.forget)
                of_carry = through.mul_(step.forget)
                later = product(values[f"{cell}.recurrent"].mT, z)
                later = later if kept.recurrent_mask is None else later.mul_(kept.recurrent_mask)
            self._add(gradients, cell, step, z, rows, is_last)
            if wants_input:
                of_input = product(values[f"{cell}.kernel"][..., :rows, :].mT, z)
                inputs.append(of_input if kept.mask is None else of_input.mul_(kept.mask))
        return inputs[::-1]

    def _add(self, gradients: Values, cell: str, step: _Step, z: Tensor, rows: int, is_last: bool) -> None:
        """Add a step's part of the gradients of a cell; the last step, which comes first, writes."""
        kernel, bias = gradients[f"{cell}.kernel"][..., :rows, :], gradients[f"{cell}.bias"][..., :rows, :]
        if is_last:
            product(z, step.x.mT, out=kernel)
            total(z, out=bias)
            if step.hidden is not None:
                product(z, step.hidden.mT, out=gradients[f"{cell}.recurrent"])
            return
        add_product(kernel, z, step.x.mT)
        bias.add_(z.sum(-1, keepdim=True))
        if step.hidden is not None:
            add_product(gradients[f"{cell}.recurrent"], z, step.hidden.mT)
