"""Transfer learning: a backbone of timm or torchvision by name, pretrained or not, and a head of its own (PyTorch).

Faces have one channel, and so has the backbone's first convolution: weights for three channels are folded into it (backbones.py).
`head: trees` fits gradient-boosted trees on the frozen backbone's pooled features instead (tree_head.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.protocol import Trainable
from fersweep.trainables.saved_model import read_model
from fersweep.trainables.transfer.hparams import Hparams
from fersweep.trainables.transfer.weights import load, resolve

FRAMEWORK = "torch"
FEATURES = ("pixels",)


def fetch(hparams: list[dict[str, Any]]) -> None:
    """Get the weights that trials may ask for, once, before a sweep starts. Raises InputError."""
    trials = [Hparams(**values) for values in hparams]
    _check_weights((h.backbone, h.weights) for h in trials)


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> Trainable:
    from fersweep.trainables.torch_training.classifier import build_classifier
    from fersweep.trainables.transfer.net import make_net

    h = Hparams(**hparams)
    if h.head == "trees":
        from fersweep.trainables.transfer.tree_head import build_trees

        return build_trees(h, arrays, seed)
    return build_classifier("transfer", h, arrays, seed, make_net)


def restore(directory: Path) -> Trainable:
    from fersweep.trainables.torch_training.classifier import restore_classifier
    from fersweep.trainables.transfer.net import make_empty_net

    if read_model(directory)["hparams"]["head"] == "trees":
        from fersweep.trainables.transfer.tree_head import restore_trees

        return restore_trees(directory)
    return restore_classifier(directory, Hparams, make_empty_net)


def _check_weights(pairs: Iterable[tuple[str, str]]) -> None:
    """Get the weights of each (backbone, weights) once, and check that they fit. InputError for the first that fails."""
    from fersweep.trainables.transfer.backbones import check_fit

    for backbone, weights in dict.fromkeys(pairs):
        path = resolve(backbone, weights)
        if path is not None:
            state = load(path)
            try:
                check_fit(backbone, state)
            except InputError as error:
                raise InputError(f"weights: {weights}: {error}") from None
