"""Exports of nets in PyTorch: .onnx (torch's exporter) and .safetensors (weights, and model.json as metadata).

The graph maps gray faces (N, H, W) uint8, in the size of the dataset's, or raw features (N, F) float32 to probabilities (N, C):
normalisation, resizing or transform, and softmax are part of it, the weights are the averaged ones where training kept an
average, in float32.
"""

# safetensors and parts of torch have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import copy
import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fersweep.common.errors import InputError
from fersweep.common.processes import silent_stderr
from fersweep.trainables.exports.card import check_card, of_file
from fersweep.trainables.saved_model import write_checkpoint
from fersweep.trainables.torch_training.augment import resized
from fersweep.trainables.torch_training.classifier import TorchClassifier
from fersweep.trainables.torch_training.cpu_convolutions import plain
from fersweep.trainables.torch_training.loop import TorchLoop
from fersweep.trainables.torch_training.vectors import VectorClassifier
from fersweep.trainables.vectors import LOGIT_CLIP

OPSET = 20


class _OfFaces(nn.Module):
    """Bytes of faces → probabilities."""

    def __init__(self, classifier: TorchClassifier):
        super().__init__()
        self.net = predicting_net(classifier)
        self.mean, self.std = (float(classifier.statistics[name][0]) for name in ("mean", "std"))
        self.size = classifier.hparams.image_size

    def forward(self, faces: Tensor) -> Tensor:
        normalised = (faces[:, None].float() - self.mean) / self.std
        return self.net(resized(normalised, self.size)).softmax(dim=1)


class _OfFeatures(nn.Module):
    """Features as the task gives them → probabilities."""

    def __init__(self, classifier: VectorClassifier):
        super().__init__()
        preparation = classifier.preparation
        self.net, self.takes_logits = predicting_net(classifier), preparation.takes_logits
        self.scored: Tensor
        self.shift: Tensor
        self.scale: Tensor
        for name in ("scored", "shift", "scale"):
            self.register_buffer(name, torch.from_numpy(getattr(preparation, name)))

    def forward(self, features: Tensor) -> Tensor:
        if self.takes_logits:
            clipped = features.clamp(*LOGIT_CLIP)
            features = torch.where(self.scored, (clipped / (1 - clipped)).log(), features)
        return self.net((features - self.shift) / self.scale).softmax(dim=1)


def predicting_net(classifier: TorchLoop) -> Any:
    """A copy of the net that predicts, on the CPU."""
    net = copy.deepcopy(classifier.training.predicting_net()).cpu()
    plain(net)
    return net


def write(classifier: TorchLoop, path: Path) -> None:
    """Write the classifier to `path`; its suffix is the format."""
    {".onnx": _write_onnx, ".safetensors": _write_safetensors}[path.suffix](classifier, path)


def _write_onnx(classifier: TorchLoop, path: Path) -> None:
    if isinstance(classifier, VectorClassifier):
        scores = bool(classifier.preparation.scored.all())
        whole, name = _OfFeatures(classifier), "blendshapes" if scores else "features"
        example = torch.zeros(2, len(classifier.model["feature_names"]))
    else:
        assert isinstance(classifier, TorchClassifier)
        whole, name = _OfFaces(classifier), "faces"
        example = torch.zeros(2, *classifier.model["preprocessing"]["image_size"], dtype=torch.uint8)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), silent_stderr(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter's own, about versions of torch and onnxscript
            program: Any = torch.onnx.export(
                whole.eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[name],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    if isinstance(program.model.graph.inputs[0].shape[0], int):
        raise InputError(
            "the net cannot be written as ONNX for any number of faces, as it makes that number one of Python's: want x.shape[0], "
            "not len(x), and x.flatten(1)"
        )
    program.model.metadata_props.update({key: json.dumps(value) for key, value in classifier.card.items()})
    program.save(path)


def _write_safetensors(classifier: TorchLoop, path: Path) -> None:
    from safetensors.torch import save

    tensors = predicting_net(classifier).state_dict()
    state = {f"net.{name}": value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    state |= {name: torch.from_numpy(np.array(value)) for name, value in classifier.statistics.items()}
    path.write_bytes(save(state, {key: json.dumps(value) for key, value in classifier.card.items()}))  # save_file: 0600


def open_safetensors(path: Path) -> Any:
    """The classifier in a .safetensors file, ready to predict, in float32. Raises InputError if `export` did not write it."""
    from safetensors import safe_open

    from fersweep import trainables

    with of_file(path), safe_open(path, "np") as archive, tempfile.TemporaryDirectory() as directory:
        state = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118  # not a dict
        model = {key: json.loads(value) for key, value in (archive.metadata() or {}).items()}
        check_card(path, model)["hparams"] |= {
            "ema_decay": None,
            "precision": "fp32",
        }  # the weights are the averaged ones
        write_checkpoint(Path(directory), {**model, "batch_size": 0, "plateau": {}}, state)
        return trainables.load(model["trainable"]).restore(Path(directory))
