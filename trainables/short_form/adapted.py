"""A file of the short form as a trainable.

    def space(trial):                                # → hparams: knobs of the training loop, and names of the file's own
        return {"width": trial.suggest_int("width", 16, 64), "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)}

    def net(hparams, image_size, num_classes):       # or num_features: what it is called says what the net sees
        return nn.Sequential(nn.Conv2d(1, hparams["width"], 3), …)      # logits; torch.nn.Module, or a Keras model

and, if it wants to,

    HPARAMS = {"width": 32, "optimizer": "adamw"}    # defaults
    POINTS = {"first": {"width": 32, …}}             # named points of the space
    PERTURBABLE = {"dropout"}                        # own names that no weight depends on (trainables/protocol.py)
    CHANNELS, MEAN, STD                              # of pixels: see inputs.py
    fetch(hparams)                                   # see trainables/protocol.py

docs/how-to/own-model.md is for who writes one.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from fersweep.data_pipeline.tasks.arrays import TaskArrays
from fersweep.data_pipeline.tasks.features import VECTORS, Features
from fersweep.trainables.keras_training import hparams as keras_training
from fersweep.trainables.protocol import Trainable
from fersweep.trainables.short_form.hparams import own_hparams
from fersweep.trainables.short_form.inputs import Pixels
from fersweep.trainables.short_form.net_function import NetFunction
from fersweep.trainables.torch_training import hparams as torch_training

LOOPS: dict[tuple[str, bool], type[BaseModel]] = {
    ("torch", True): torch_training.FaceHparams,
    ("torch", False): torch_training.VectorHparams,
    ("tensorflow", True): keras_training.TrainingHparams,
    ("tensorflow", False): keras_training.VectorHparams,
}
PERTURBABLE = {"torch": torch_training.PERTURBABLE, "tensorflow": keras_training.PERTURBABLE}


class ShortForm:
    """What trainables/protocol.py says of a trainable's module, and its space: `space`, `POINTS`.

    Attributes:
        pixels: how faces are shown to the net; None of a net of features.
    """

    LEARNS_PROBABILITIES: dict[str, Any] = {}  # noqa: RUF012  # as modules have it

    def __init__(self, name: str, module: ModuleType, framework: str):
        self.name, self.FRAMEWORK = name, framework
        self.file = name.partition("@")[0]
        self.net = NetFunction.of(self.file, module)
        self.FEATURES: tuple[Features, ...] = ("pixels",) if self.net.sees_pixels else VECTORS
        self.pixels = Pixels.of(self.file, module) if self.net.sees_pixels else None
        loop = LOOPS.get((framework, self.net.sees_pixels))
        if loop is None:
            raise ValueError(f"{self.file}: net is trained by torch or tensorflow, not by {framework}")
        self.Hparams = own_hparams(self.file, module, loop)
        known = self.Hparams.model_fields.keys()
        self.PERTURBABLE = frozenset((PERTURBABLE[framework] | set(getattr(module, "PERTURBABLE", ()))) & known)
        self.space = module.space
        self.POINTS: dict[str, dict[str, Any]] = getattr(module, "POINTS", {})
        if hasattr(module, "fetch"):
            self.fetch = module.fetch

    @property
    def _own_names(self) -> frozenset[str]:
        loop = LOOPS[self.FRAMEWORK, self.net.sees_pixels]
        return frozenset(self.Hparams.model_fields.keys() - loop.model_fields.keys())

    def build(self, hparams: dict[str, Any], arrays: TaskArrays, seed: int, weights: bool = True) -> Trainable:
        """A fresh model, with pretrained `weights` if its net asks for them. Raises ValueError for hparams that are none, and for
        a net that is none; TrialFailed where it does not fit in memory.
        """
        h, net = self.Hparams(**hparams), self.net.fresh(self._own_names, weights)
        if self.FRAMEWORK == "tensorflow":
            from fersweep.trainables.short_form import keras_nets

            return keras_nets.build(self.name, h, arrays, seed, net, self.pixels)
        from fersweep.trainables.short_form import torch_nets

        return torch_nets.build(self.name, h, arrays, seed, net, self.pixels)

    def restore(self, directory: Path) -> Trainable:
        """A model that can predict, from a checkpoint: `net` is called again, without pretrained weights."""
        if self.FRAMEWORK == "tensorflow":
            from fersweep.trainables.short_form import keras_nets

            return keras_nets.restore(directory, self.Hparams, self.net, self.pixels)
        from fersweep.trainables.short_form import torch_nets

        return torch_nets.restore(directory, self.Hparams, self.net, self.pixels)


def adapted(name: str, module: ModuleType, framework: str) -> ShortForm:
    """The trainable that a file of the short form is.

    Args:
        name: what model.json says as "trainable", such as `my_model.py@3f2a9c81d0e4`.
        module: the imported file.
        framework: "torch" or "tensorflow", whichever the file imports.

    Raises ValueError of one line, which says what would be right.
    """
    return ShortForm(name, module, framework)
