"""One training step of a net: precision, clipping, SAM, frozen stages, learning rates by stage, averaged weights.

Nothing here waits for the device: there is no `.item()` and no branch on a tensor. Stages count from 0, nearest to the input, to the
head (`net.stage_of`).
"""

# torch's _foreach functions work on many tensors in one kernel, and torch's own optimizers are made of them.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import contextlib
import copy
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fersweep.trainables.torch_training.hparams import Stages, TrainingHparams
from fersweep.trainables.torch_training.layers import FaceNet

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def rate_factors(h: TrainingHparams, epoch: int, num_steps: int) -> np.ndarray:
    """(num_steps,) factors of the learning rate in epoch `epoch` (0: the first); plateau's are 1."""
    epochs = epoch + np.arange(num_steps) / num_steps
    progress = np.minimum(epochs / h.schedule_epochs, 1.0)
    if h.schedule == "cosine":
        factors = 0.5 * (1 + np.cos(math.pi * progress))
    elif h.schedule == "one_cycle":
        # Smith & Topin 2019 as in torch's OneCycleLR: 30 % up from 1/25, then down to 1/25e4
        rising = progress < 0.3
        part = np.where(rising, progress / 0.3, (progress - 0.3) / 0.7)
        low = np.where(rising, 1 / 25, 1 / 25e4)
        factors = low + (1 - low) * 0.5 * (1 + np.cos(math.pi * np.where(rising, 1 - part, part)))
    else:
        factors = np.ones(num_steps)
    return factors * np.minimum((epochs + 1 / num_steps) / h.warmup_epochs, 1.0) if h.warmup_epochs else factors


def unfrozen_at(h: TrainingHparams, stage: int, num_stages: int) -> int:
    """The epoch (0: the first) in which a stage begins to learn."""
    below_head = num_stages - 1 - stage
    if not isinstance(h, Stages) or h.freeze == "none" or below_head == 0:
        return 0
    return h.freeze_epochs * (1 if h.freeze == "head_first" else below_head)


class Plateau:
    """Cuts the learning rate when val_loss has not fallen for `plateau_patience` epochs."""

    def __init__(self, h: TrainingHparams):
        self._h, self.scale, self.best, self.waited = h, 1.0, sys.float_info.max, 0

    def see(self, val_loss: float) -> None:
        if self._h.schedule != "plateau":
            return
        better = val_loss < self.best
        self.best, self.waited = min(val_loss, self.best), 0 if better else self.waited + 1
        if self.waited >= self._h.plateau_patience:
            self.scale, self.waited = self.scale * self._h.plateau_factor, 0


class Average:
    """Exponential moving average of weights and of batch normalisation's statistics; its decay rises to `decay`. Counters
    and other whole numbers are those of the net.

    The numbers are those of timm's ModelEmaV3 with a warm-up of gamma 9 and power 1.

    Attributes:
        net: a copy of the net, in evaluation mode, with the averaged weights.
        state: its tensors by name, each once: those that are averaged first.
    """

    def __init__(self, net: FaceNet, decay: float):
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        averaged, whole = _tensors(self.net)
        averages, wholes = _tensors(net)
        self.state = averaged | whole
        self._pairs = list(averaged.values()), list(averages.values())
        self._whole = list(zip(whole.values(), wholes.values(), strict=True))
        self.decay, self.num_updates = decay, 0

    @torch.no_grad()
    def update(self) -> None:
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        torch._foreach_lerp_(*self._pairs, 1 - decay)
        for mine, its in self._whole:
            mine.copy_(its)


def _tensors(net: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Its floating-point tensors by name, and the others but for batch normalisation's counters, which nothing reads in
    evaluation mode. What has two names, such as tied weights, has its first one.
    """
    floating: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in net.state_dict(keep_vars=True).items():
        if id(tensor) in seen or name.endswith(".num_batches_tracked"):
            continue
        seen.add(id(tensor))
        (floating if tensor.is_floating_point() else others)[name] = tensor.detach()
    return floating, others


class Training:
    """A net on its device with its optimizer. `precision`: a key of DTYPES."""

    def __init__(self, net: FaceNet, h: TrainingHparams, precision: str, device: torch.device):
        self.net, self.h, self.device, self.precision = net, h, device, precision
        self.num_stages = net.num_stages
        self.optimizer = _make_optimizer(net, h)
        self.average = None if h.ema_decay is None else Average(net, h.ema_decay)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._weights = [p for p in net.parameters() if p.requires_grad]
        self._norms = [(self._stage(name, m), m) for name, m in net.named_modules() if isinstance(m, _BatchNorm)]
        self._forward: Any = torch.compile(net) if h.compile else net

    def _stage(self, module: str, norm: nn.Module) -> int:
        parameter = next((name for name, _ in norm.named_parameters(recurse=False)), None)
        return self.num_stages - 1 if parameter is None else self.net.stage_of(f"{module}.{parameter}")

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "fp32")

    def begin_epoch(self, epoch: int) -> None:
        """Freeze the stages that do not learn in `epoch`: their weights and batch statistics stay as they are."""
        self.net.train()
        learns = [epoch >= unfrozen_at(self.h, stage, self.num_stages) for stage in range(self.num_stages)]
        for group in self.optimizer.param_groups:
            for weight in group["params"]:
                weight.requires_grad_(learns[group["stage"]])
        for stage, norm in self._norms:
            if not learns[stage]:
                norm.eval()

    def rates(self, epoch: int, num_steps: int, scale: float) -> np.ndarray:
        """(num_steps, num_stages) learning rates of an epoch. A stage that was frozen starts at 0 in its first epoch."""
        h = self.h
        factors = scale * h.learning_rate * rate_factors(h, epoch, num_steps)
        stages = np.arange(self.num_stages)
        begun = np.array([unfrozen_at(h, int(stage), self.num_stages) for stage in stages])
        epochs = epoch + (np.arange(num_steps)[:, None] + 1) / num_steps
        rising = np.where(begun > 0, np.clip(epochs - begun, 0, 1), 1.0)
        decay = h.layer_decay if isinstance(h, Stages) else 1.0
        return factors[:, None] * rising * decay ** (self.num_stages - 1 - stages)

    def step(self, faces: Tensor, targets: Tensor, rates: np.ndarray) -> Tensor:
        """One step on B faces as the net sees them and (B, C) targets with the rates (num_stages,) → its loss, a scalar tensor."""
        for group in self.optimizer.param_groups:
            group["lr"] = float(rates[group["stage"]])
        loss = self._backward(faces, targets)
        if self.h.sam_rho is not None:
            self._second_backward(faces, targets, self.h.sam_rho)
        if self.h.clipnorm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._weights, self.h.clipnorm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()
        return loss

    def _backward(self, faces: Tensor, targets: Tensor) -> Tensor:
        with self.autocast():
            logits = self._forward(faces)
        loss = self._loss(logits.float(), targets)
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        if self.h.loss == "focal":  # Lin et al. 2017, summed over soft targets
            logs = logs * (1 - logs.exp()).pow(self.h.focal_gamma)
        loss = -(targets * logs).sum(dim=1).mean()
        penalty = self.net.penalty()
        return loss if penalty is None else loss + penalty

    def _second_backward(self, faces: Tensor, targets: Tensor, rho: float) -> None:
        """SAM (Foret et al. 2021): the gradient at the worst point within `rho` replaces the one here."""
        moved = [w for w in self._weights if w.grad is not None]
        gradients = [w.grad for w in moved if w.grad is not None]
        with torch.no_grad():
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            ascent = torch._foreach_mul(gradients, rho / (norm + 1e-12))
            torch._foreach_add_(list[Tensor](moved), ascent)
        self.optimizer.zero_grad(set_to_none=True)
        with self._still_norms():
            self._backward(faces, targets)
        with torch.no_grad():
            torch._foreach_sub_(list[Tensor](moved), ascent)

    @contextlib.contextmanager
    def _still_norms(self) -> Iterator[None]:
        """A second pass of a batch does not change batch normalisation's running statistics."""
        momenta = [norm.momentum for _, norm in self._norms]
        for _, norm in self._norms:
            norm.momentum = 0.0
        yield
        for (_, norm), momentum in zip(self._norms, momenta, strict=True):
            norm.momentum = momentum

    def predicting_net(self) -> FaceNet:
        """The net that predicts, in evaluation mode: with the averaged weights if there are any."""
        return self.net.eval() if self.average is None else self.average.net

    @torch.no_grad()
    def probabilities(self, faces: Tensor) -> Tensor:
        """B faces as the net sees them → (B, C) float32."""
        net = self.predicting_net()
        with self.autocast():
            logits = net(faces)
        return logits.float().softmax(dim=1)

    def state(self) -> dict[str, np.ndarray]:
        """Weights, optimizer, average and scaler as arrays."""
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state.items()}
            tensors["average_updates"] = torch.tensor(self.average.num_updates)
        tensors |= {f"scaler.{k}": torch.tensor(v) for k, v in self.scaler.state_dict().items()}
        return {k: v.detach().cpu().numpy() for k, v in tensors.items()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Load what `state` returned."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): torch.from_numpy(v) for k, v in state.items() if k.startswith(prefix)}

        self.net.load_state_dict(part("net."))
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimizer.").items():
            index, _, slot = name.partition(".")
            weight = weights[int(index)]
            if value.shape == weight.shape:  # fused steps need the memory layout of the weight
                value = torch.empty_like(weight).copy_(value)
            slots.setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})
        if self.average is not None:
            for name, value in part("average.").items():
                self.average.state[name].copy_(value)
            self.average.num_updates = int(state["average_updates"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict({k: v.item() for k, v in part("scaler.").items()})


def _make_optimizer(net: FaceNet, h: TrainingHparams) -> torch.optim.Optimizer:
    """One group for each stage and decay: norms and biases (one axis) are not decayed."""
    groups: dict[tuple[int, bool], list[Tensor]] = {}
    for name, weight in net.named_parameters():
        if weight.requires_grad:  # a net may keep some as they are
            groups.setdefault((net.stage_of(name), weight.ndim > 1), []).append(weight)
    parameters: list[dict[str, Any]] = [
        {"params": groups[key], "stage": key[0], "weight_decay": h.weight_decay if key[1] else 0.0}
        for key in sorted(groups)
    ]
    if h.optimizer == "sgd":
        nesterov = h.momentum > 0
        return torch.optim.SGD(parameters, h.learning_rate, momentum=h.momentum, nesterov=nesterov, fused=True)
    make = torch.optim.AdamW if h.optimizer == "adamw" else torch.optim.Adam
    return make(parameters, h.learning_rate, betas=(h.momentum, 0.999), fused=True)
