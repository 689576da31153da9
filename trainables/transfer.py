"""Transfer learning: a backbone of timm or torchvision by name, pretrained or not, and a head of its own (PyTorch).

Faces have one channel, and so has the backbone's first convolution: weights for three are folded into it (backbones.py).
`head: trees` fits gradient-boosted trees on the frozen backbone's pooled features instead (tree_head.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from data_pipeline.task import TaskArrays
from trainables.base import Trainable, read_model
from trainables.torch_hparams import HeadHparams

if TYPE_CHECKING:
    from trainables.transfer_net import TransferNet

FRAMEWORK = "torch"
FEATURES = ("pixels",)


class Hparams(HeadHparams):
    backbone: str = Field("tf_efficientnet_lite0", description="a name of timm's, or torchvision's squeezenet1_1")
    weights: str = Field("imagenet", description="imagenet (downloaded once), none, or the path of a file")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth, where the backbone has it")
    head: Literal["dense", "trees"] = "dense"
    trees_per_epoch: int = Field(5, ge=1, description="boosting iterations an epoch: one tree a class each")
    tree_leaves: int = Field(31, ge=2, description="leaves of a tree at most")
    tree_rate: float = Field(0.1, gt=0, le=1, description="shrinkage: what each tree contributes")
    tree_l2: float = Field(0.0, ge=0)

    @field_validator("weights")
    @classmethod
    def _absolute(cls, value: str) -> str:
        """A worker has another working directory than who launches."""
        return value if value in ("imagenet", "none") else str(Path(value).expanduser().absolute())


def make_net(h: Hparams, num_classes: int) -> TransferNet:
    """The net that training starts from, with its pretrained weights."""
    from trainables import weights
    from trainables.transfer_net import TransferNet

    path = weights.resolve(h.backbone, h.weights)
    return TransferNet(h, num_classes, None if path is None else weights.load(path))


def make_empty_net(h: Hparams, num_classes: int) -> TransferNet:
    """The same net for a checkpoint's weights."""
    from trainables.transfer_net import TransferNet

    return TransferNet(h, num_classes, None)


def fetch(hparams: list[dict[str, Any]]) -> None:
    """Get the weights that trials may ask for, once, before a sweep starts. Raises InputError."""
    from trainables import weights

    wanted = [Hparams(**one) for one in hparams]
    weights.check((one.backbone, one.weights) for one in wanted)


def build(hparams: dict[str, Any], arrays: TaskArrays, seed: int) -> Trainable:
    from trainables.torch_model import build_classifier

    h = Hparams(**hparams)
    if h.head == "trees":
        from trainables.tree_head import build_trees

        return build_trees(h, arrays, seed)
    return build_classifier("transfer", h, arrays, seed, make_net)


def restore(directory: Path) -> Trainable:
    from trainables.torch_model import restore_classifier

    if read_model(directory)["hparams"]["head"] == "trees":
        from trainables.tree_head import restore_trees

        return restore_trees(directory)
    return restore_classifier(directory, Hparams, make_empty_net)
