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
from torch import Tensor

from fersweep.trainables.fused_training.net import Blocks, Mask
from fersweep.trainables.fused_training.program import Program
from fersweep.trainables.fused_training.variables import Variable, kernel, orthogonal


class _Step(NamedTuple):
    """Of one step of a cell, for the backward pass. x: its input (…, inputs + 1, B); gates: all that it has (…, 3U or 4U, B);
    shown: the carry's activation; before, hidden: carry and (masked) output before it; None in the first step.
    """

    x: Tensor
    gates: Tensor
    shown: Tensor
    before: Tensor | None
    hidden: Tensor | None


class _Cell(NamedTuple):
    """A layer in one direction: its steps in the order in which it takes them, and its masks. name: of its block."""

    name: str
    steps: list[_Step]
    mask: Tensor | None
    recurrent_mask: Tensor | None


class LSTMNet:
    """See Net. `hparams`: of trainables/blendshape_lstm.py."""

    def __init__(self, hparams: Any, num_features: int, num_classes: int):
        self._h, self._activation, self._units = hparams, hparams.activation, hparams.units
        is_single = hparams.layout == "features"
        self._num_steps, first = (1, num_features) if is_single else (num_features, 1)
        self._ways = 2 if hparams.bidirectional else 1
        self._inputs = [first, *(units * self._ways for units in hparams.units)]
        self._num_classes = num_classes
        self._forgets = hparams.recurrent_dropout > 0 and not is_single
        masks = (hparams.dropout > 0, self._forgets)
        self.key = ("lstm", self._num_steps, *self._inputs, num_classes, self._activation, self._ways, masks)
        self.variables = [*self._cells(), *self._head()]
        self.moving: dict[str, np.ndarray] = {}
        self.order = list(self._order())

    def _cells(self) -> Iterator[Variable]:
        for layer, units in enumerate(self._units):
            for way in range(self._ways):
                cell, inputs, idle = f"{layer}.{way}", self._inputs[layer], self._num_steps == 1
                yield Variable(f"{cell}.kernel", (inputs, 4 * units), cell, gated=True, regularised=True)
                yield Variable(f"{cell}.recurrent", (units, 4 * units), f"{cell}.recurrent", gated=True, idle=idle)
                yield Variable(f"{cell}.bias", (4 * units,), cell, gated=True)

    def _head(self) -> Iterator[Variable]:
        yield Variable("head.kernel", (self._inputs[-1], self._num_classes), "head", regularised=True)
        yield Variable("head.bias", (self._num_classes,), "head")

    def _order(self) -> Iterator[str]:
        for variable in self.variables:
            yield variable.name
            if variable.name.endswith("bias") and variable.gated:
                yield "seed"

    @property
    def numbers_of_a_face(self) -> int:
        gates = 3 if self._num_steps == 1 else 4
        return self._num_steps * (self._inputs[0] + (gates + 4) * sum(self._inputs[1:]))

    def first_values(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        h, values = self._h, dict[str, np.ndarray]()
        for variable in self.variables:
            if variable.name.endswith("recurrent"):
                value = orthogonal(variable.shape, rng)
            elif variable.name.endswith("kernel"):
                value = kernel(h.initializer, h.initializer_range, variable.shape, rng)
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
            for _ in range(self._ways):
                if h.dropout:
                    inputs = self._inputs[layer]
                    masks.append(Mask(inputs, batch, h.dropout) if layer else Mask(batch, inputs, h.dropout))
                if self._forgets:
                    masks.append(Mask(units, batch, h.recurrent_dropout))
        return masks

    def forward(
        self, program: Program, blocks: Blocks, moving: Blocks, x: Tensor, masks: Sequence[Tensor] | None
    ) -> tuple[Tensor, list[list[_Cell]]]:
        drawn, layers, batch = iter(masks or ()), list[list[_Cell]](), x.shape[-2]
        outputs: list[Tensor] = []
        for layer, units in enumerate(self._units):
            is_last = layer == len(self._units) - 1
            inputs, cells = outputs, list[_Cell]()
            outputs = [program.inputs(units * self._ways, batch) for _ in range(1 if is_last else self._num_steps)]
            for way in range(self._ways):
                mask = next(drawn) if masks and self._h.dropout else None
                recurrent = next(drawn) if masks and self._forgets else None
                read = self._masked(program, inputs, mask) if layer else self._first_inputs(program, x, mask)
                own = [output[..., way * units : (way + 1) * units, :] for output in outputs]
                if is_last:  # each direction shows its last step alone
                    own = [*(program.buffer(units, batch) for _ in range(self._num_steps - 1)), *own]
                elif way:
                    own = own[::-1]
                steps = self._scan(program, blocks, f"{layer}.{way}", read[::-1] if way else read, own, recurrent)
                cells.append(_Cell(f"{layer}.{way}", steps, mask, recurrent))
            layers.append(cells)
        logits = program.buffer(self._num_classes, batch)
        program.product(blocks["head"], outputs[-1], out=logits)
        head = _Step(outputs[-1], logits, logits, None, None)
        return logits, [*layers, [_Cell("head", [head], None, None)]]

    def _first_inputs(self, program: Program, x: Tensor, mask: Tensor | None) -> list[Tensor]:
        """What the first layer reads at each step: faces are rows of `x`."""
        features = x.shape[-1] - 1
        if self._num_steps > 1:
            steps = [program.inputs(1, x.shape[-2]) for _ in range(features)]
            for step, inputs in enumerate(steps):
                feature, into = x[..., step : step + 1].mT, inputs[..., :1, :]
                if mask is None:
                    program.do(into.copy_, feature)
                else:
                    program.times(feature, mask.mT, out=into)
            return steps
        if mask is None:
            return [x.mT]
        masked = program.buffer(*x.shape[-2:], fill=1.0)
        program.times(x[..., :features], mask, out=masked[..., :features])
        return [masked.mT]

    def _masked(self, program: Program, inputs: list[Tensor], mask: Tensor | None) -> list[Tensor]:
        """What a later layer reads: the outputs of the one before it, of both directions."""
        if mask is None:
            return inputs
        rows = mask.shape[-2]
        read = [program.inputs(rows, step.shape[-1]) for step in inputs]
        for step, into in zip(inputs, read, strict=True):
            program.times(step[..., :rows, :], mask, out=into[..., :rows, :])
        return read

    def _scan(
        self,
        program: Program,
        blocks: Blocks,
        cell: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        mask: Tensor | None,
    ) -> list[_Step]:
        """Compute `outputs` of `inputs`, both in the order in which the cell takes its steps."""
        units, batch, steps = outputs[0].shape[-2], outputs[0].shape[-1], list[_Step]()
        before = hidden = None
        for x, output in zip(inputs, outputs, strict=True):
            rows = 3 * units if before is None else 4 * units
            gates = program.buffer(rows, batch)
            program.product(blocks[cell][..., :rows, :], x, out=gates)
            if hidden is not None:
                if mask is not None:
                    masked = program.like(hidden)
                    program.times(hidden, mask, out=masked)
                    hidden = masked
                program.add_product(blocks[f"{cell}.recurrent"], hidden, out=gates)
            opened, candidate = gates[..., : 2 * units, :], gates[..., 2 * units : 3 * units, :]
            program.activation("sigmoid", opened, out=opened)
            program.activation(self._activation, candidate, out=candidate)
            carry, shown = program.buffer(units, batch), program.buffer(units, batch)
            program.times(gates[..., :units, :], candidate, out=carry)
            if before is not None:
                forget = gates[..., 3 * units :, :]
                program.activation("sigmoid", forget, out=forget)
                program.do(carry.addcmul_, forget, before)
            program.activation(self._activation, carry, out=shown)
            program.times(gates[..., units : 2 * units, :], shown, out=output)
            steps.append(_Step(x, gates, shown, before, hidden))
            before, hidden = carry, output
        return steps

    def backward(
        self, program: Program, blocks: Blocks, gradients: Blocks, kept: list[list[_Cell]], gradient: Tensor
    ) -> None:
        batch, width = gradient.shape[-1], self._inputs[-1]
        program.product(gradient, kept[-1][0].steps[0].x.mT, out=gradients["head"])
        of_last = program.buffer(width, batch)
        program.product(blocks["head"][..., :width].mT, gradient, out=of_last)
        # Gradients of each direction's outputs, in the order in which it made them; None: there is none.
        flows: list[list[Tensor | None]] = [
            [*([None] * (self._num_steps - 1)), of_last[..., way * self._units[-1] : (way + 1) * self._units[-1], :]]
            for way in range(self._ways)
        ]
        for layer in reversed(range(len(self._units))):
            below: list[Tensor] = []
            if layer:
                below = [program.buffer(self._inputs[layer], batch) for _ in range(self._num_steps)]
            for way, cell in enumerate(kept[layer]):
                into = below[::-1] if way else below
                self._back(program, blocks, gradients, cell, flows[way], into, adds=way > 0)
            units = self._units[layer - 1]
            flows = []
            for way in range(self._ways):
                flow: list[Tensor | None] = [step[..., way * units : (way + 1) * units, :] for step in below]
                flows.append(flow[::-1] if way else flow)

    def _back(
        self,
        program: Program,
        blocks: Blocks,
        gradients: Blocks,
        cell: _Cell,
        flow: Sequence[Tensor | None],
        below: Sequence[Tensor],
        adds: bool,
    ) -> None:
        """Compute the gradients of a cell's blocks, and in `below` those of its inputs, where it is not empty, in the order in which
        it read them; `adds`: to what is there.
        """
        name, last = self._activation, len(cell.steps) - 1
        later = of_carry = None
        for index in range(last, -1, -1):
            step, of_hidden = cell.steps[index], flow[index]
            units, batch = step.shown.shape[-2:]
            if later is not None and of_hidden is not None:
                program.do(later.add_, of_hidden)
            of_hidden = of_hidden if later is None else later
            assert of_hidden is not None
            gates, z = step.gates, program.like(step.gates)
            of_shown = program.like(step.shown)
            program.times(of_hidden, gates[..., units : 2 * units, :], out=of_shown)
            program.slope(name, of_shown, step.shown, step.shown, out=of_shown)
            if of_carry is not None:
                program.do(of_shown.add_, of_carry)
            opened, of_opened = gates[..., : 2 * units, :], z[..., : 2 * units, :]
            candidate, of_candidate = gates[..., 2 * units : 3 * units, :], z[..., 2 * units : 3 * units, :]
            program.times(of_shown, candidate, out=z[..., :units, :])
            program.times(of_hidden, step.shown, out=z[..., units : 2 * units, :])
            program.slope("sigmoid", of_opened, opened, opened, out=of_opened)
            program.times(of_shown, gates[..., :units, :], out=of_candidate)
            program.slope(name, of_candidate, candidate, candidate, out=of_candidate)
            if step.before is not None:
                forget, of_forget = gates[..., 3 * units :, :], z[..., 3 * units :, :]
                program.times(of_shown, step.before, out=of_forget)
                program.slope("sigmoid", of_forget, forget, forget, out=of_forget)
                program.do(of_shown.mul_, forget)
                of_carry, later = of_shown, program.buffer(units, batch)
                program.product(blocks[f"{cell.name}.recurrent"].mT, z, out=later)
                if cell.recurrent_mask is not None:
                    program.do(later.mul_, cell.recurrent_mask)
            self._write(program, gradients, cell.name, step, z, adds=index < last)
            if below:
                self._write_below(program, blocks, cell, z, below[index], adds)

    def _write(self, program: Program, gradients: Blocks, cell: str, step: _Step, z: Tensor, adds: bool) -> None:
        """Write a step's part of the gradients of a cell's blocks, or add it."""
        rows = z.shape[-2]
        product = program.add_product if adds else program.product
        product(z, step.x.mT, out=gradients[cell][..., :rows, :])
        if step.hidden is not None:
            product(z, step.hidden.mT, out=gradients[f"{cell}.recurrent"])

    def _write_below(self, program: Program, blocks: Blocks, cell: _Cell, z: Tensor, below: Tensor, adds: bool) -> None:
        kernel = blocks[cell.name][..., : z.shape[-2], : below.shape[-2]].mT
        if adds and cell.mask is None:
            program.add_product(kernel, z, out=below)
            return
        into = program.like(below) if adds else below
        program.product(kernel, z, out=into)
        if cell.mask is not None:
            program.do(into.mul_, cell.mask)
        if adds:
            program.do(below.add_, into)
