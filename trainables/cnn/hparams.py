"""Hparams of `cnn`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fersweep.trainables.torch_training.hparams import HeadHparams


class Hparams(HeadHparams):
    widths: tuple[int, ...] = Field((32, 64, 128, 256), min_length=1, description="channels of each stage, input first")
    kernels: tuple[int, ...] = Field((3,), min_length=1, description="side of the kernels: one for all stages, or each")
    convs_per_stage: int = Field(1, ge=1, le=8)
    pooling: Literal["max", "avg", "stride"] = Field(
        "max", description="stride: the last convolution of a stage halves"
    )
    residual: bool = False
    attention: Literal["none", "se", "cbam"] = "none"
    batch_norm: bool = True
    activation: Literal["relu", "gelu", "silu", "elu"] = "relu"
    conv_dropout: float = Field(0.0, ge=0, lt=1, description="after each stage")

    @model_validator(mode="after")
    def _stages_fit(self) -> Hparams:
        if len(self.kernels) not in (1, len(self.widths)):
            raise ValueError(f"kernels: want 1 or {len(self.widths)}, one for each stage, but got {self.kernels}")
        if self.image_size < 2 ** len(self.widths):
            raise ValueError(f"widths: {len(self.widths)} stages halve a side of {self.image_size} pixels to nothing")
        if min(self.widths) < 1 or min(self.kernels) < 1:
            raise ValueError(f"widths and kernels are 1 or more, but got {self.widths} and {self.kernels}")
        if self.pooling == "stride" and any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels: pooling: stride wants odd kernels, but got {self.kernels}")
        return self
