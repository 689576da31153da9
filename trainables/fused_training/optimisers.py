"""Keras's optimizers on flat variables: (P,) of one member, or (K, P) of a stack (keras/src/optimizers/{adam,sgd,rmsprop}.py).

An optimizer's numbers differ from member to member: plain ones for one member, (K, 1) for a stack.
"""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

BETA_2, RHO, EPSILON = 0.999, 0.9, 1e-7  # Keras's defaults
SURELY = 0.99  # of the square of a norm: whatever the rounding

Number = float | Tensor


def state_names(hparams: Any) -> tuple[str, ...]:
    """What an optimizer keeps of each variable, by our names."""
    if hparams.optimizer == "sgd":
        return ("momentum",) if hparams.beta_1 else ()
    if hparams.optimizer == "rmsprop":
        return ("velocity", "momentum") if hparams.beta_1 else ("velocity",)
    return ("momentum", "velocity", "largest") if hparams.amsgrad else ("momentum", "velocity")


def state_order(hparams: Any, variables: Sequence[str]) -> list[tuple[str, str]]:
    """(state, variable) in the order of a Keras checkpoint."""
    names = state_names(hparams)
    if hparams.optimizer in ("sgd", "rmsprop"):
        return [(name, variable) for name in names for variable in variables]
    pairs = [(name, variable) for variable in variables for name in names[:2]]
    return pairs + [(name, variable) for name in names[2:] for variable in variables]


class Optimiser:
    """Updates `values`, of one member (P,) or of a stack (K, P), from `gradient`, in which what is 0 stays 0.

    `hparams`: of each member; `state`: by name, as much of each thing that is kept.
    """

    def __init__(self, hparams: Sequence[Any], values: Tensor, gradient: Tensor, state: Mapping[str, Tensor]):
        self._hparams, self._values, self._gradient, self._state = hparams, values, gradient, state
        self._scratch = torch.zeros_like(gradient)
        self._beta_1, self._rest = self.each(lambda h: h.beta_1), self.each(lambda h: 1 - h.beta_1)
        self._sizes: Sequence[Number] = []

    def each(self, number: Callable[[Any], float]) -> Number:
        """A number of each member: itself of one, else (K, 1)."""
        if self._values.ndim == 1:
            return float(number(self._hparams[0]))
        return torch.tensor([[number(h)] for h in self._hparams], device=self._values.device)

    def by_step(self, rows: Sequence[np.ndarray]) -> Sequence[Number]:
        """Of each member (S,) → of each step, a number of each member."""
        if self._values.ndim == 1:
            return rows[0].tolist()
        return list(torch.from_numpy(np.stack(rows, 1)).to(self._values.device).unsqueeze(-1))

    def start(self, rates: Sequence[np.ndarray], done: Sequence[int]) -> None:
        """Begin an epoch: of each member the learning rates (S,) of its steps, and how many it has done before."""
        sizes = [_size(h, rate, before) for h, rate, before in zip(self._hparams, rates, done, strict=True)]
        self._sizes = self.by_step(sizes)

    def step(self, index: int) -> None:
        values, gradient, state, scratch = self._values, self._gradient, self._state, self._scratch
        size, optimizer = self._sizes[index], self._hparams[0].optimizer
        if optimizer == "sgd":
            gradient.mul_(size)
            if "momentum" in state:
                values.add_(state["momentum"].mul_(self._beta_1).sub_(gradient))
            else:
                values.sub_(gradient)
            return
        velocity = state["velocity"]
        if optimizer == "rmsprop":
            velocity.mul_(RHO).addcmul_(gradient, gradient, value=1 - RHO)
            change = gradient.mul_(size).div_(torch.add(velocity, EPSILON, out=scratch).sqrt_())
            values.sub_(change if "momentum" not in state else state["momentum"].mul_(self._beta_1).add_(change))
            return
        momentum = state["momentum"].lerp_(gradient, self._rest)
        velocity.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        if "largest" in state:
            velocity = torch.maximum(state["largest"], velocity, out=state["largest"])
        change = torch.sqrt(velocity, out=scratch).add_(EPSILON)
        values.sub_(torch.div(momentum, change, out=change).mul_(size))


class FusedAdam(Optimiser):
    """Adam on a CPU as one pass over the memory of each member, with PyTorch's own kernel, which divides by the unbiased deviation
    where Keras multiplies the step: its rate and epsilon are set so that both are the same.
    """

    def __init__(self, hparams: Sequence[Any], values: Tensor, gradient: Tensor, state: Mapping[str, Tensor]):
        super().__init__(hparams, values, gradient, state)
        rows = [tensor.view(len(hparams), -1) for tensor in (values, gradient, state["momentum"], state["velocity"])]
        largest = state["largest"].view(len(hparams), -1) if "largest" in state else None
        self._members = [
            (*([tensor[k]] for tensor in rows), [] if largest is None else [largest[k]], [torch.zeros(())])
            for k in range(len(hparams))
        ]
        self._numbers: list[tuple[list[int], list[float], list[float]]] = []

    def start(self, rates: Sequence[np.ndarray], done: Sequence[int]) -> None:
        self._numbers = []
        for h, rate, before in zip(self._hparams, rates, done, strict=True):
            steps = np.arange(before + 1, before + 1 + len(rate))
            unbiased = np.sqrt(1 - BETA_2 ** steps.astype(np.float64))
            rated = _size(h, rate, before) * (1 - float(h.beta_1) ** steps) / unbiased
            self._numbers.append((steps.tolist(), rated.tolist(), (EPSILON / unbiased).tolist()))

    def step(self, index: int) -> None:
        for h, tensors, (steps, rates, epsilons) in zip(self._hparams, self._members, self._numbers, strict=True):
            tensors[-1][0].fill_(steps[index])
            torch._fused_adamw_(  # type: ignore[attr-defined]
                *tensors,
                lr=rates[index],
                beta1=h.beta_1,
                beta2=BETA_2,
                weight_decay=0.0,
                eps=epsilons[index],
                amsgrad=h.amsgrad,
                maximize=False,
            )


class Clip:
    """Keras's clipnorm: each variable's part of the gradient (P,) or (K, P) is clipped on its own. `parts`: views of it
    (…, rows, columns), one of each variable; `norms`: of each member, the largest that a part may have.
    """

    def __init__(self, gradient: Tensor, parts: Sequence[Tensor], norms: Sequence[float]):
        self._gradient, self._parts = gradient, parts
        self._norms = torch.tensor(norms, device=gradient.device).view(-1 if gradient.ndim == 2 else ())
        self._by_numpy = gradient.device.type == "cpu"

    def clip(self) -> None:
        if self._by_numpy:
            self._clip_by_numpy(self._gradient.numpy(), self._norms.numpy())
            return
        for part in self._parts:
            norms = torch.linalg.vector_norm(part, dim=(-2, -1))
            part.mul_((self._norms / norms).clamp_(max=1)[..., None, None])

    def _clip_by_numpy(self, gradient: np.ndarray, most: np.ndarray) -> None:
        """Several times as fast on memory with gaps. Most gradients are so small as a whole that no part of them is too large."""
        if (np.einsum("...i,...i->...", gradient, gradient) < SURELY * most**2).all():
            return
        for part in self._parts:
            values = part.numpy()
            norms = np.sqrt(np.einsum("...ij,...ij->...", values, values))
            if (norms > most).any():
                with np.errstate(all="ignore"):  # what is not finite is found in the metrics
                    values *= np.minimum(most / norms, np.float32(1))[..., None, None]


def _size(hparams: Any, rates: np.ndarray, done: int) -> np.ndarray:
    """What each step multiplies its direction by, float32: rates (S,) of steps of which the first is number `done` + 1."""
    if hparams.optimizer in ("sgd", "rmsprop"):
        return rates
    steps = np.arange(done + 1, done + 1 + len(rates), dtype=np.float32)
    unbiased = np.sqrt(1 - np.power(np.float32(BETA_2), steps)) / (1 - np.power(np.float32(hparams.beta_1), steps))
    return (rates * unbiased).astype(np.float32)


def make_optimiser(hparams: Sequence[Any], values: Tensor, gradient: Tensor, state: Mapping[str, Tensor]) -> Optimiser:
    is_adam = hparams[0].optimizer in ("adam", "adamw")
    kind = FusedAdam if is_adam and values.device.type == "cpu" and hasattr(torch, "_fused_adamw_") else Optimiser
    return kind(hparams, values, gradient, state)
