"""What a net sees in a face: the feature maps of its layers, and Grad-CAM (Selvaraju et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fersweep.trainables.torch_training.optimisation import Training


@contextmanager
def _outputs(layers: list[tuple[str, nn.Module]]) -> Iterator[dict[str, Tensor]]:
    """The outputs of `layers` in the forward passes of the block."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            outputs[name] = output
            return output.clone()  # later layers may work in place

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def feature_maps(training: Training, face: Tensor, num: int) -> list[tuple[str, np.ndarray]]:
    """(1, 1, S, S) normalised → the first `num` maps of each layer, (at most num, h, w) float32, input first."""
    net = training.predicting_net()
    with _outputs(net.layers) as outputs, torch.no_grad():
        net(face)
    return [(name, outputs[name][0, :num].float().cpu().numpy()) for name, _ in net.layers]


def grad_cam(training: Training, faces: Tensor, classes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(N, 1, S, S) normalised faces and (N,) classes → (N, *shape) float32: 1 where a face speaks most for its class.

    Taken at the deepest layer that is at least 4 by 4, since faces of 48 pixels end in maps of 1 or 2. Raises ValueError
    for a net without such a layer.
    """
    net = training.predicting_net()
    with _outputs(net.layers) as outputs:
        weights = [w for w in net.parameters() if w.requires_grad]
        for weight in weights:
            weight.requires_grad_(False)
        try:
            with torch.enable_grad():
                logits = net(faces.clone().requires_grad_())
                wide = [outputs[name] for name, _ in net.layers if min(outputs[name].shape[-2:]) >= 4]
                if not wide:
                    raise ValueError("Grad-CAM needs a convolutional layer of at least 4 by 4")
                picked = logits.gather(1, torch.from_numpy(classes).long().to(logits.device)[:, None]).sum()
                (gradient,) = torch.autograd.grad(picked, wide[-1])
        finally:
            for weight in weights:
                weight.requires_grad_(True)
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * wide[-1].detach()).sum(dim=1, keepdim=True).relu()
    cam = F.interpolate(cam, shape, mode="bilinear", align_corners=False)[:, 0]
    highest = cam.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    return (cam / highest).float().cpu().numpy()
