"""Backbones by name: the convolutional part of a known net (timm's, torchvision's SqueezeNet) for gray faces.

A pretrained net has three input channels. Fed with a gray face, they see the same image on three scales, so its first
convolution folds into one of a single channel: a third of the input, and no copy of the face.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torchvision.models import SqueezeNet

from fersweep.common.errors import InputError
from fersweep.trainables.torch_training.cpu_convolutions import quicken
from fersweep.trainables.transfer.weights import NAMES, VARIANTS, check_name

HEADS = ("classifier", "fc", "head", "pre_logits", "AuxLogits", "global_pool", "head_drop", "conv_head", "norm_head")
SMALLEST = {"inception_v3": 75}  # px of a face: below, its maps shrink to nothing
WITHOUT_DROP_PATH = ("vgg", "inception", "squeezenet")


class Backbone(nn.Module):
    """(B, 1, S, S) float32 normalised gray → (B, num_features, h, w) feature maps.

    mean, std: of the gray levels (0-255) that pretrained weights expect; None without such weights.
    Stages: the stem, then one for each halving of the map, then, if there is one, the convolution after the last stage.
    """

    mean: float | None = None
    std: float | None = None

    def __init__(self, net: Any):
        super().__init__()
        self.net = net
        self.num_features: int = net.num_features
        self._ends = _stage_ends(net)
        modules = [name for name, _ in net.named_modules()]
        lasts = [max(i for i, name in enumerate(modules) if _is_in(name, end)) for end in self._ends]
        self._stages = {name: min(bisect_left(lasts, i), len(lasts) - 1) for i, name in enumerate(modules)}

    @property
    def num_stages(self) -> int:
        return len(self._ends)

    @property
    def layers(self) -> list[tuple[str, nn.Module]]:
        """The module at the end of each stage, input first."""
        return [(name, self.net.get_submodule(name)) for name in self._ends]

    def stage_of(self, name: str) -> int:
        """The stage of a parameter or buffer of the backbone, 0 nearest to the input. KeyError for any other name."""
        return self._stages[name.removeprefix("net.").rpartition(".")[0]]

    def forward(self, x: Tensor) -> Tensor:
        return self.net.forward_features(x)


def make(name: str, state: dict[str, Tensor] | None, image_size: int, drop_path_rate: float = 0.0) -> Backbone:
    """The backbone `name`, with the weights `state` of its net for colour images (see weights.py) if given.

    The mean and standard deviation that timm's default weights of that name were trained with are taken for all weights.
    drop_path_rate: of stochastic depth (Huang et al. 2016); without effect in VGG, Inception and SqueezeNet.
    Raises InputError for an unknown name and for weights that do not fit; ValueError for faces of `image_size` pixels
    that are too small, and for a net that is not convolutional.
    """
    check_name(name)
    if image_size < SMALLEST.get(name, 0):
        raise ValueError(f"{name} needs image_size >= {SMALLEST[name]}, but got {image_size}")
    net = _make_net(name, drop_path_rate)
    if name not in NAMES:
        _check_maps(name, net, image_size)
    backbone = Backbone(net)
    if state is not None:
        net.load_state_dict(_fold(net, _fit(name, net, state)), strict=False)  # _fit says what may be missing
        mean, std = (torch.tensor(net.pretrained_cfg[key]).mean().item() for key in ("mean", "std"))
        backbone.mean, backbone.std = 255 * mean, 255 * std
    return backbone


def check_fit(name: str, state: dict[str, Tensor]) -> None:
    """InputError if the weights `state` are not those of the backbone `name`."""
    with torch.device("meta"):
        _fit(name, _make_net(name, 0.0), state)


class _SqueezeNet(SqueezeNet):
    """SqueezeNet 1.1 with the attributes of timm's nets."""

    num_features = 512
    pretrained_cfg = {"first_conv": "features.0", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # noqa: RUF012
    feature_info = [{"module": f"features.{i}"} for i in (1, 4, 7, 10, 12)]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__("1_1")
        stem = nn.Conv2d(1, 64, kernel_size=3, stride=2)
        nn.init.kaiming_uniform_(stem.weight)
        nn.init.zeros_(stem.bias)  # type: ignore[arg-type]
        self.features[0] = stem

    def forward_features(self, x: Tensor) -> Tensor:
        return self.features(x)


def _make_net(name: str, drop_path_rate: float) -> Any:
    """The net for one input channel, without what follows its feature maps."""
    name = VARIANTS.get(name, name)
    options: dict[str, Any] = {}
    if name.startswith("vgg"):
        options["mlp_ratio"] = 1 / 4096  # one unit for each of its two layers of 4096, which are dropped below
    if name.startswith("convnext"):
        options["head_norm_first"] = True  # its last norm is part of the maps
    if drop_path_rate and not name.startswith(WITHOUT_DROP_PATH):
        options["drop_path_rate"] = drop_path_rate
    if name == "squeezenet1_1":
        net = _SqueezeNet()
    else:
        net = timm.create_model(name, in_chans=1, num_classes=0, global_pool="", **options)
    # EfficientNet's conv_head makes its maps; MobileNetV3 has one after the pooling, which widens them.
    widened = getattr(net, "head_hidden_size", net.num_features) != net.num_features
    for part in HEADS:
        if hasattr(net, part) and (part != "conv_head" or widened):
            setattr(net, part, nn.Identity())
    quicken(net)
    return net


def _check_maps(name: str, net: Any, image_size: int) -> None:
    """ValueError unless a net that is not in NAMES returns feature maps of a face."""
    try:
        with torch.no_grad():
            shape = net.eval().forward_features(torch.zeros(1, 1, image_size, image_size)).shape
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"{name} cannot take faces of {image_size} px: {error}") from None
    finally:
        net.train()
    if len(shape) != 4 or shape[1] != net.num_features:
        raise ValueError(f"{name} is not convolutional: it makes {tuple(shape)} of a face, not feature maps")


def _stage_ends(net: Any) -> list[str]:
    """The name of the module at the end of each stage: timm's feature_info, the stem before it and the top after it."""
    modules = [name for name, _ in net.named_modules()]
    ends = [info["module"] for info in net.feature_info if info["module"] in modules]
    parts = [name for name, part in net.named_children() if any(True for _ in part.parameters())]
    trunk, inside, _ = ends[0].partition(".")
    if inside and parts.index(trunk):
        ends.insert(0, parts[parts.index(trunk) - 1])
    if not _is_in(ends[-1], parts[-1]) and modules.index(parts[-1]) > modules.index(ends[-1]):
        ends.append(parts[-1])
    if isinstance(net.get_submodule(ends[-1]), nn.MaxPool2d):  # VGG ends with one: it learns nothing
        ends.pop()
    return ends


def _is_in(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def _fit(name: str, net: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `state` that the net's maps need. InputError unless they are exactly the net's, for colour images."""
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    stem = f"{net.pretrained_cfg['first_conv']}.weight"
    shapes[stem] = (shapes[stem][0], 3, *shapes[stem][2:])
    if "norm_pre.weight" in shapes:  # ConvNeXt's, which has it in its head
        state = {key.replace("head.norm.", "norm_pre."): value for key, value in state.items()}
    given = {key: tuple(v.shape) for key, v in state.items() if key in shapes or key.partition(".")[0] not in HEADS}
    needed = [key for key in shapes if key in given or not key.endswith(".num_batches_tracked")]  # old files have none
    wrong = [key for key in dict.fromkeys([*needed, *given]) if given.get(key) != shapes.get(key)]
    if wrong:
        here, there = (s.get(wrong[0], "nothing") for s in (shapes, given))
        num = sum(given.get(key) == shapes[key] for key in needed)
        raise InputError(
            f"{num} of {len(needed)} weight tensors fit {name}; "
            f"first that does not: {wrong[0]} is {there} there and {here} in the net"
        )
    return {key: state[key] for key in given}


def _fold(net: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` with the first convolution folded to take gray faces normalised with the means over the channels.

    Channel c of a gray face g is (g - mean_c) / std_c = a_c z + b_c, where z = (g - mean) / std. So the kernel becomes
    sum_c a_c w_c, and the constant sum_c b_c w_c goes into the convolution's bias, or into the running mean of the batch
    norm after it. Exact, except for the outermost pixels where the three means differ: there the convolution sees padding,
    which has no b_c.
    """
    stem = net.pretrained_cfg["first_conv"]
    if type(net.get_submodule(stem)) not in (nn.Conv2d, Conv2dSame):
        raise ValueError(f"the weights of a {type(net.get_submodule(stem)).__name__} cannot be folded for gray faces")
    means, stds = (torch.tensor(net.pretrained_cfg[key]) for key in ("mean", "std"))
    kernel = state[f"{stem}.weight"].float()
    a, b = stds.mean() / stds, (means.mean() - means) / stds
    constant = torch.einsum("ocij,c->o", kernel, b)
    folded = {**state, f"{stem}.weight": torch.einsum("ocij,c->oij", kernel, a)[:, None]}
    if f"{stem}.bias" in state:
        folded[f"{stem}.bias"] = state[f"{stem}.bias"] + constant
        return folded
    names = [module for module, _ in net.named_modules()]
    norm = names[names.index(stem) + 1]
    if not isinstance(net.get_submodule(norm), nn.BatchNorm2d):
        raise ValueError(f"the weights of {stem} cannot be folded for gray faces: it has no bias and no batch norm")
    folded[f"{norm}.running_mean"] = state[f"{norm}.running_mean"] - constant
    return folded
