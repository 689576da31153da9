"""Keras's optimizers on flat variables: (P,) of one member, or (K, P) of a stack (keras/src/optimizers/{adam,sgd,rmsprop}.py).

An optimizer's numbers differ from member to member: plain ones for one member, (K, 1) for a stack.
"""

# Parts of PyTorch have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

BETA_2, RHO, EPSILON = 0.999, 0.9, 1e-7  # Keras's defaults

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


def step_sizes(hparams: Any, rates: np.ndarray, done: int) -> np.ndarray:
    """What each step multiplies its direction by, float32: rates (S,) of steps of which the first is number `done` + 1."""
    if hparams.optimizer in ("sgd", "rmsprop"):
        return rates
    steps = np.arange(done + 1, done + 1 + len(rates), dtype=np.float32)
    unbiased = np.sqrt(1 - np.power(np.float32(BETA_2), steps)) / (1 - np.power(np.float32(hparams.beta_1), steps))
    return (rates * unbiased).astype(np.float32)


def update(
    optimizer: str,
    values: Tensor,
    gradient: Tensor,
    state: Mapping[str, Tensor],
    beta_1: Number,
    rest: Number,
    size: Number,
    scratch: Tensor,
) -> None:
    """One step of `values`. rest: 1 - beta_1; size: of the step; scratch: memory for as much. What is 0 in `gradient` stays 0."""
    if optimizer == "sgd":
        gradient.mul_(size)
        if "momentum" in state:
            values.add_(state["momentum"].mul_(beta_1).sub_(gradient))
        else:
            values.sub_(gradient)
        return
    velocity = state["velocity"]
    if optimizer == "rmsprop":
        velocity.mul_(RHO).addcmul_(gradient, gradient, value=1 - RHO)
        change = gradient.mul_(size).div_(torch.add(velocity, EPSILON, out=scratch).sqrt_())
        values.sub_(change if "momentum" not in state else state["momentum"].mul_(beta_1).add_(change))
        return
    momentum = state["momentum"].lerp_(gradient, rest)
    velocity.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
    if "largest" in state:
        velocity = torch.maximum(state["largest"], velocity, out=state["largest"])
    change = torch.sqrt(velocity, out=scratch).add_(EPSILON)
    values.sub_(torch.div(momentum, change, out=change).mul_(size))
