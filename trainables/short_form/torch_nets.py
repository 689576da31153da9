"""Somebody's net in PyTorch as one that our loops train: checked, and with the layers that can be explained.

Shapes: B faces, C classes, S = image_size, F features.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.protocol import Trainable
from fersweep.trainables.short_form.inputs import Pixels
from fersweep.trainables.short_form.net_function import Blaming, NetFunction
from fersweep.trainables.torch_training.classifier import build_classifier, restore_classifier
from fersweep.trainables.torch_training.layers import Classifier, FaceNet
from fersweep.trainables.torch_training.vectors import build_vectors, restore_vectors

FEWEST_PIXELS = 2  # of a side of a map that is shown


class OwnNet(FaceNet):
    """What `net` returned, as one stage. Its weights are called as in the file, with `own.` before.

    Parts that `net` left in evaluation mode stay in it: batch normalisation of frozen parts keeps its statistics.
    """

    def __init__(self, own: nn.Module, pixels: Pixels | None):
        super().__init__()
        self.own = own
        self._still = [module for module in own.modules() if not module.training]
        self._layers: list[tuple[str, nn.Module]] = []
        self.memory_format = torch.channels_last if pixels else torch.contiguous_format
        self.channels = pixels.channels if pixels else 0
        self._scale: Tensor | None
        self._shift: Tensor | None
        scale = shift = None
        if pixels and pixels.mean is not None and pixels.std is not None:
            mean, std = torch.tensor(pixels.mean), torch.tensor(pixels.std)
            self.mean, self.std = float(mean.mean()), float(std.mean())  # what the loop normalises all channels with
            if len(set(zip(pixels.mean, pixels.std, strict=True))) > 1:
                scale, shift = ((self.std / std)[:, None, None], ((self.mean - mean) / std)[:, None, None])
        self.register_buffer("_scale", scale, persistent=False)
        self.register_buffer("_shift", shift, persistent=False)

    @property
    def num_stages(self) -> int:
        return 1

    def stage_of(self, name: str) -> int:
        return 0

    @property
    def layers(self) -> list[tuple[str, nn.Module]]:
        return self._layers

    def penalty(self) -> Tensor | None:
        return None

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self._still:
            module.training = False
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, S) or (B, F) → (B, C)."""
        if self.channels > 1:
            x = x.expand(-1, self.channels, -1, -1)
            if self._scale is not None and self._shift is not None:
                x = x * self._scale + self._shift
            x = x.contiguous(memory_format=self.memory_format)
        return self.own(x)


def _made(
    function: NetFunction, hparams: Any, pixels: Pixels | None, size: int, names: Sequence[str], num_classes: int
) -> OwnNet:
    """The net, checked. size: image_size, or the number of features. Raises ValueError of one line where it is none."""
    to_be_trained = function.first
    own: Any = function(hparams, size, num_classes, names)
    if not isinstance(own, nn.Module):
        raise ValueError(f"{function.file}: net returns a torch.nn.Module, but got {type(own).__name__}")
    net = OwnNet(own, pixels)
    x = torch.randn(3, 1, size, size) if pixels else torch.randn(3, size)
    if any(
        isinstance(value, (UninitializedBuffer, UninitializedParameter))
        for value in (*own.parameters(), *own.buffers())
    ):
        fast, net.memory_format = net.memory_format, torch.contiguous_format
        with Blaming(function, f"net, given {tuple(x.shape)}"), torch.no_grad():
            net.eval()(x)  # lazy layers get their shapes
        net.memory_format = fast
    if any(isinstance(part, nn.Conv2d) and part.groups > 1 for part in own.modules()):
        from fersweep.trainables.torch_training.cpu_convolutions import quicken  # timm takes a second

        quicken(own)
    _answer_in_some_format(net, function, x, num_classes)
    _check_tensors(own, function.file)
    if to_be_trained:
        with Blaming(function, "net in training"), torch.no_grad():
            answer = copy.deepcopy(net).train()(x.contiguous(memory_format=net.memory_format))
        _check_logits(answer, (3, num_classes), function.file, "in training")
        function.warn_of_unread(hparams)
    return net.train()


def _answer_in_some_format(net: OwnNet, function: NetFunction, x: Tensor, num_classes: int) -> None:
    """Check its answers, in evaluation mode. A net that needs contiguous maps, as `view` does, gets them: channels last, where
    convolutions are faster, is tried first.
    """
    try:
        answer = _answers(net, x)
    except RuntimeError as error:
        if net.memory_format != torch.channels_last or "view size is not compatible" not in str(error):
            with Blaming(function, f"net, given {tuple(x.shape)}"):
                raise
        net.memory_format = torch.contiguous_format
        with Blaming(function, f"net, given {tuple(x.shape)}"):
            answer = _answers(net, x)
    except Exception:
        with Blaming(function, f"net, given {tuple(x.shape)}"):
            raise
    _check_logits(answer, (len(x), num_classes), function.file, "")
    with Blaming(function, "net, given one face"):
        _check_logits(_answers(net, x[:1]), (1, num_classes), function.file, "for one face")
    if (answer >= 0).all() and torch.allclose(answer.sum(dim=1), torch.ones(len(x)), atol=1e-4):
        warnings.warn(
            f"{function.file}: net seems to return probabilities: leave its softmax out, want logits", stacklevel=2
        )


def _answers(net: OwnNet, x: Tensor) -> Tensor:
    """In evaluation mode; notes the layers that can be shown, and has the last linear one compute in float32."""
    net.eval().to(memory_format=net.memory_format)
    sizes: dict[nn.Module, tuple[int, ...]] = {}
    last: list[tuple[nn.Module, Any]] = []
    own: Any = net.own
    names: dict[nn.Module, str] = {module: name for name, module in own.named_modules()}

    def note(module: nn.Module, _inputs: object, output: Any) -> None:
        sizes.pop(module, None)
        last[:] = [(module, output)] if isinstance(module, nn.Linear) else last
        if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[-2:]) >= FEWEST_PIXELS:
            sizes[module] = tuple(output.shape[-2:])

    handles = [module.register_forward_hook(note) for module in names]
    try:
        with torch.no_grad():
            answer = net(x.contiguous(memory_format=net.memory_format))
    finally:
        for handle in handles:
            handle.remove()
    of_size = {size: module for module, size in sizes.items()}  # the last of each
    net._layers = (
        [(names[module] or type(module).__name__, module) for module in of_size.values()] if net.channels else []
    )
    if last and last[0][1] is answer and type(last[0][0]) is nn.Linear:
        last[0][0].__class__ = Classifier
    return answer


def _check_logits(answer: Any, shape: tuple[int, int], file: str, when: str) -> None:
    when = f" {when}" if when else ""
    if not isinstance(answer, Tensor):
        raise ValueError(f"{file}: net's model returns{when} a tensor of logits, but got {type(answer).__name__}")
    if tuple(answer.shape) != shape:
        raise ValueError(
            f"{file}: net's model returns{when} logits of shape {shape}, faces × classes, but got {tuple(answer.shape)}"
        )
    if answer.dtype != torch.float32:
        raise ValueError(
            f"{file}: net's model returns{when} logits of float32, but got {str(answer.dtype).removeprefix('torch.')}"
        )
    if not torch.isfinite(answer).all():
        raise ValueError(
            f"{file}: net's model returns{when} NaN or infinity for faces of mean 0 and deviation 1, before any training"
        )


def _check_tensors(own: nn.Module, file: str) -> None:
    """Weights are what an optimizer and a checkpoint can hold."""
    wrong = [f"{name} is {str(weight.dtype).removeprefix('torch.')}" for name, weight in own.named_parameters()
             if weight.dtype != torch.float32]  # fmt: skip
    if wrong:
        raise ValueError(
            f"{file}: net: weights are float32 (`precision` is a knob of the training loop), but {wrong[0]}"
        )
    if not any(weight.requires_grad for weight in own.parameters()):
        raise ValueError(f"{file}: net: no weight learns: want parameters with requires_grad")
    for name, value in own.state_dict().items():
        try:
            np.asarray(value.detach().cpu().numpy())
        except (AttributeError, TypeError, RuntimeError):
            raise ValueError(
                f"{file}: net: {name} of its state_dict cannot be written to a checkpoint: want tensors of NumPy's types"
            ) from None


def _make_faces(function: NetFunction, pixels: Pixels) -> Callable[[Any, int], OwnNet]:
    return lambda h, num_classes: _made(function, h, pixels, h.image_size, (), num_classes)


def _make_vectors(function: NetFunction) -> Callable[[Any, Sequence[str], int], OwnNet]:
    return lambda h, names, num_classes: _made(function, h, None, len(names), names, num_classes)


def build(
    name: str, hparams: Any, arrays: TaskArrays, seed: int, function: NetFunction, pixels: Pixels | None
) -> Trainable:
    if pixels is None:
        return build_vectors(name, hparams, arrays, seed, _make_vectors(function))
    return build_classifier(name, hparams, arrays, seed, _make_faces(function, pixels))


def restore(directory: Path, hparams: type[Any], function: NetFunction, pixels: Pixels | None) -> Trainable:
    if pixels is None:
        return restore_vectors(directory, hparams, _make_vectors(function))
    return restore_classifier(directory, hparams, _make_faces(function, pixels))
