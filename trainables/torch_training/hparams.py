"""The hparams that all nets in PyTorch share (loop.py): how to train, not what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fersweep.trainables.protocol import HparamsModel

# No weight and no state of an optimizer depends on them, as long as none is 0 in one trial and not in another (protocol.py).
PERTURBABLE = frozenset(
    (
        *("learning_rate", "momentum", "weight_decay", "layer_decay", "clipnorm", "sam_rho", "ema_decay"),
        *("focal_gamma", "class_weights", "label_smoothing"),
        *("rotation", "zoom", "shift", "shear", "crop", "brightness", "contrast", "erasing", "mixup", "cutmix"),
    )
)
OF_A_HEAD = frozenset(("head_dropout", "head_l2"))


class Augmentation(HparamsModel):
    """Random changes of train faces, drawn anew for each face and epoch; 0 or false switches one off."""

    flip: bool = True
    rotation: float = Field(0.0, ge=0, le=180, description="degrees to either side")
    zoom: float = Field(0.0, ge=0, lt=1, description="scale drawn from 1 - zoom to 1 + zoom")
    shift: float = Field(0.0, ge=0, lt=1, description="share of the side, to each direction")
    shear: float = Field(0.0, ge=0, le=45, description="degrees to either side")
    crop: float = Field(0.0, ge=0, lt=1, description="share of the side cut off, at a random place, the rest enlarged")
    brightness: float = Field(0.0, ge=0, le=1, description="share of the gray range that is added or taken")
    contrast: float = Field(0.0, ge=0, lt=1, description="contrast scaled by 1 - contrast to 1 + contrast")
    erasing: float = Field(
        0.0, ge=0, le=1, description="probability that a rectangle of 2 to 25 % turns into mean gray"
    )
    mixup: float = Field(0.0, ge=0, description="alpha of the Beta distribution of the mixing weight")
    cutmix: float = Field(0.0, ge=0, description="alpha; with mixup too, each batch gets one of the two")


class TrainingHparams(HparamsModel):
    """Those of every net, whatever it sees. Rates are per step; lengths are in epochs. `schedule_epochs` is the sweep's
    max_epochs unless it is given.
    """

    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    sam_rho: float | None = Field(None, gt=0, description="sharpness-aware minimisation: radius of its ascent step")
    learning_rate: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd (Nesterov); beta_1 of adam and adamw")
    weight_decay: float = Field(0.0, ge=0, description="adamw: decoupled; sgd, adam: L2; not of norms and biases")
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = "constant"
    schedule_epochs: int = Field(100, ge=1, description="epochs until cosine and one_cycle end")
    warmup_epochs: float = Field(0.0, ge=0, description="linear from 0, before any schedule")
    plateau_patience: int = Field(3, ge=1, description="epochs without a lower val_loss until the rate is cut")
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    batch_size: int | Literal["auto"] = Field(64, description="auto: the largest power of two up to 1024 that fits")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = Field(False, description="torch.compile: minutes of compiling, then faster steps")
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = Field(2.0, ge=0)
    class_weights: float = Field(0.0, ge=0, le=1, description="exponent of n / (C * n_c): 0 none, 1 balanced")
    sampling: Literal["shuffled", "balanced"] = Field(
        "shuffled", description="balanced: faces drawn so that classes are equally frequent"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    soft_labels: bool = Field(False, description="learn the annotators' votes where the dataset has them (FER+)")
    clipnorm: float | None = Field(None, gt=0, description="of the gradient of all weights together")
    ema_decay: float | None = Field(None, ge=0, lt=1, description="averaged weights are what is evaluated")

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingHparams:
        if isinstance(self.batch_size, int) and self.batch_size < 2:
            raise ValueError(f"batch_size: {self.batch_size} is too small, batch normalisation needs 2 faces")
        if self.sam_rho is not None and self.precision == "fp16":
            raise ValueError("precision: fp16 scales its losses, which SAM's two steps cannot share: use bf16 or fp32")
        return self


class VectorHparams(TrainingHparams):
    """Those of nets that see blendshapes, landmarks or both."""

    transform: Literal["none", "logit"] = Field("none", description="of the scores; logit opens up those near 0 and 1")
    standardise: bool = Field(True, description="of the scores, by train's, after the transform; landmarks always are")


class FaceHparams(Augmentation, TrainingHparams):
    """Those of nets that see pixels."""

    image_size: int = Field(48, ge=24, le=224, description="side in pixels that faces are resized to on the device")
    tta: bool = Field(False, description="also report val over the face and its mirror image: val_tta_…")


class Stages(HparamsModel):
    """Those of nets that are made of stages."""

    layer_decay: float = Field(1.0, gt=0, le=1, description="rate of a stage is this times that of the next above it")
    freeze: Literal["none", "head_first", "gradual"] = Field(
        "none", description="head_first: the head alone, then all; gradual: one stage more every freeze_epochs"
    )
    freeze_epochs: int = Field(2, ge=1)


class TorchHparams(FaceHparams, Stages):
    """Those of our nets of pixels."""


class HeadHparams(TorchHparams):
    """The head: hidden layers between the pooled maps and the logits."""

    head_pooling: Literal["avg", "max", "both", "flatten"] = "avg"
    head_units: tuple[int, ...] = Field((), description="units of each hidden layer, the first one first")
    head_dropout: float | tuple[float, ...] = Field(
        0.0, description="after each hidden layer; or one value for the input of the head and one for each hidden layer"
    )
    head_batch_norm: bool = False
    head_activation: Literal["relu", "gelu", "silu", "elu"] = "relu"
    head_l2: float = Field(0.0, ge=0, description="weight of the sum of squares of the head's kernels in the loss")

    @model_validator(mode="after")
    def _head_fits(self) -> HeadHparams:
        if any(unit < 1 for unit in self.head_units):
            raise ValueError(f"head_units: each layer needs a unit or more, but got {self.head_units}")
        rates = self.head_dropouts()
        if len(rates) != len(self.head_units) + 1 or not all(0 <= rate < 1 for rate in rates):
            raise ValueError(
                f"head_dropout: want one rate in [0, 1), or {len(self.head_units) + 1} (before the first of "
                f"{len(self.head_units)} hidden layers, and after each), but got {self.head_dropout}"
            )
        return self

    def head_dropouts(self) -> tuple[float, ...]:
        """Rates before the first hidden layer and after each."""
        if isinstance(self.head_dropout, tuple):
            return self.head_dropout
        if not self.head_units:
            return (self.head_dropout,)
        return (0.0, *[self.head_dropout] * len(self.head_units))
