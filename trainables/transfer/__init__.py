"""Transfer learning: a backbone of timm or torchvision by name, pretrained or not, and a head of its own (PyTorch).

Faces have one channel, and so has the backbone's first convolution: weights for three channels are folded into it (backbones.py).
`head: trees` fits gradient-boosted trees on the frozen backbone's pooled features instead (tree_head.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.trainables.protocol import Trainable
from fersweep.trainables.saved_model import read_model
from fersweep.trainables.torch_training import hparams as training
from fersweep.trainables.transfer.hparams import Hparams
from fersweep.trainables.transfer.weights import digest, expect, is_known, load, named, resolve

FRAMEWORK = "torch"
FEATURES = ("pixels",)
LEARNS_PROBABILITIES: dict[str, str] = {"head": "dense"}
# Of `head: trees` none but class_weights is drawn, and with other ones all trees are grown again (tree_head.py).
PERTURBABLE = training.PERTURBABLE | training.OF_A_HEAD | {"drop_path"}
__all__ = [
    "FEATURES",
    "FRAMEWORK",
    "LEARNS_PROBABILITIES",
    "PERTURBABLE",
    "Hparams",
    "build",
    "expect",
    "fetch",
    "restore",
]


def fetch(hparams: list[dict[str, Any]]) -> dict[str, str]:
    """Get the weights that trials may ask for, once, before a sweep starts → their sha256, by name. Raises InputError."""
    trials = [Hparams(**values) for values in hparams]
    return _check_weights((h.backbone, h.weights, h.weights_sha256) for h in trials)


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> Trainable:
    from fersweep.trainables.torch_training.classifier import build_classifier
    from fersweep.trainables.transfer.net import make_net

    h = Hparams(**hparams)
    if h.head == "trees":
        from fersweep.trainables.transfer.tree_head import build_trees

        model = build_trees(h, arrays, seed)
    else:
        model = build_classifier("transfer", h, arrays, seed, make_net)
    path = resolve(h.backbone, h.weights, h.weights_sha256)
    model.model["weights_sha256"] = None if path is None else digest(path)  # what it began with, into model.json
    return model


def restore(directory: Path) -> Trainable:
    from fersweep.trainables.torch_training.classifier import restore_classifier
    from fersweep.trainables.transfer.net import make_empty_net

    if read_model(directory)["hparams"]["head"] == "trees":
        from fersweep.trainables.transfer.tree_head import restore_trees

        return restore_trees(directory)
    return restore_classifier(directory, Hparams, make_empty_net)


def _check_weights(asked: Iterable[tuple[str, str, str | None]]) -> dict[str, str]:
    """Get the weights of each (backbone, weights, sha256) once, and check that they fit → named → sha256. InputError for
    the first that fails.
    """
    from fersweep.trainables.transfer.backbones import check_fit

    fetched: dict[str, str] = {}
    for backbone, weights, sha256 in dict.fromkeys(asked):
        path = resolve(backbone, weights, sha256)
        if path is None:
            continue
        state = load(path)
        try:
            check_fit(backbone, state)
        except InputError as error:
            raise InputError(f"weights: {weights}: {error}") from None
        fetched[named(backbone, weights)] = digest(path)
        if weights == "imagenet" and sha256 is None and not is_known(backbone):
            print(
                f"weights: no sha256 of imagenet's of {backbone} is known: {digest(path)} is believed, and all trials of this "
                f"sweep must find the same (weights_sha256 wants it of other sweeps, too)",
                file=sys.stderr,
            )
    return fetched
