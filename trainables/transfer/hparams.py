"""Hparams of `transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from fersweep.trainables.torch_training.hparams import HeadHparams


class Hparams(HeadHparams):
    backbone: str = Field("tf_efficientnet_lite0", description="a name of timm's, or torchvision's squeezenet1_1")
    weights: str = Field("imagenet", description="imagenet (downloaded once), none, or the path of a file")
    weights_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="that the file of weights must have")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth, where the backbone has it")
    head: Literal["dense", "trees"] = "dense"
    trees_per_epoch: int = Field(5, ge=1, description="boosting iterations an epoch: one tree a class each")
    tree_leaves: int = Field(31, ge=2, description="leaves of a tree at most")
    tree_rate: float = Field(0.1, gt=0, le=1, description="shrinkage: what each tree contributes")
    tree_l2: float = Field(0.0, ge=0)

    @field_validator("weights")
    @classmethod
    def _absolute(cls, value: str) -> str:
        """A worker has another working directory than the launch."""
        return value if value in ("imagenet", "none") else str(Path(value).expanduser().absolute())
