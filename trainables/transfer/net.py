"""The net of `transfer`: a backbone and a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fersweep.trainables.torch_training.layers import FaceNet, make_head
from fersweep.trainables.transfer import backbones
from fersweep.trainables.transfer.hparams import Hparams


class TransferNet(FaceNet):
    """`state`: the backbone's pretrained weights, or None to start from random ones."""

    def __init__(self, h: Hparams, num_classes: int, state: dict[str, Tensor] | None):
        super().__init__()
        self.backbone = backbones.make(h.backbone, state, h.image_size, h.drop_path)
        self.mean, self.std = self.backbone.mean, self.backbone.std
        side = self._side(h.image_size) if h.head_pooling == "flatten" else 1
        self.head = make_head(h, (self.backbone.num_features, side), num_classes)

    def _side(self, size: int) -> int:
        """Side of the backbone's maps for faces of `size` pixels."""
        training = self.backbone.training
        with torch.no_grad():
            maps = self.backbone.eval()(torch.zeros(1, 1, size, size))
        self.backbone.train(training)
        return maps.shape[-1]

    @property
    def num_stages(self) -> int:
        return self.backbone.num_stages + 1

    def stage_of(self, name: str) -> int:
        part, _, rest = name.partition(".")
        return self.num_stages - 1 if part == "head" else self.backbone.stage_of(rest)

    @property
    def layers(self) -> list[tuple[str, nn.Module]]:
        return self.backbone.layers

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def make_net(h: Hparams, num_classes: int) -> TransferNet:
    """The net that training starts from, with its pretrained weights."""
    from fersweep.trainables.transfer import weights

    path = weights.resolve(h.backbone, h.weights, h.weights_sha256)
    return TransferNet(h, num_classes, None if path is None else weights.load(path))


def make_empty_net(h: Hparams, num_classes: int) -> TransferNet:
    """The same net for a checkpoint's weights."""
    return TransferNet(h, num_classes, None)
