"""Exports of nets of pixels: .onnx (torch's exporter) and .safetensors (weights, and model.json as metadata).

The graph maps gray faces (N, H, W) uint8, in the size of the dataset's, to probabilities (N, C): normalisation, resizing
and softmax are part of it, the weights are the averaged ones where training kept an average, in float32.
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
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fersweep.common.processes import silent_stderr
from fersweep.trainables.exports.card import check_card, of_file
from fersweep.trainables.saved_model import write_checkpoint
from fersweep.trainables.torch_training.augment import resized
from fersweep.trainables.torch_training.cpu_convolutions import plain

if TYPE_CHECKING:
    from fersweep.trainables.torch_training.classifier import TorchClassifier


OPSET = 20


class _Whole(nn.Module):
    """Bytes of faces → probabilities."""

    def __init__(self, classifier: TorchClassifier):
        super().__init__()
        self.net = predicting_net(classifier)
        plain(self.net)
        self.mean, self.std = (float(classifier.statistics[name][0]) for name in ("mean", "std"))
        self.size = classifier.hparams.image_size

    def forward(self, faces: Tensor) -> Tensor:
        normalised = (faces[:, None].float() - self.mean) / self.std
        return self.net(resized(normalised, self.size)).softmax(dim=1)


def predicting_net(classifier: TorchClassifier) -> Any:
    """A copy of the net that predicts, on the CPU."""
    return copy.deepcopy(classifier.training.predicting_net()).cpu()


def write(classifier: TorchClassifier, path: Path) -> None:
    """Write the classifier to `path`; its suffix is the format."""
    {".onnx": _write_onnx, ".safetensors": _write_safetensors}[path.suffix](classifier, path)


def _write_onnx(classifier: TorchClassifier, path: Path) -> None:
    height, width = classifier.model["preprocessing"]["image_size"]
    example = torch.zeros(2, height, width, dtype=torch.uint8)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), silent_stderr(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter's own, about versions of torch and onnxscript
            program: Any = torch.onnx.export(
                _Whole(classifier).eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["faces"],
                output_names=["probabilities"],
                dynamic_shapes={"faces": {0: torch.export.Dim("N")}},
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    program.model.metadata_props.update({key: json.dumps(value) for key, value in classifier.card.items()})
    program.save(path)


def _write_safetensors(classifier: TorchClassifier, path: Path) -> None:
    from safetensors.torch import save

    state = {f"net.{name}": value.contiguous() for name, value in predicting_net(classifier).state_dict().items()}
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
