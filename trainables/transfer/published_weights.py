"""sha256 of published ImageNet weights: what is downloaded is compared with this table, not with what its server says of it.

Each was computed by others from the file itself, and published with their code: of `resnet50`, `efficientnet_b0`, `vgg16`,
the two of MobileNet and `squeezenet1_1` several projects have the same, independently; the others stand in one table each,
whose other rows agree with those. `squeezenet1_1` also begins with the digits in torchvision's own name of the file. A
revision is the hub's commit that the file was read at; None: the newest, whatever it is, must have this sha256.
"""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    sha256: str
    revision: str | None = None


PUBLISHED = {
    "efficientnet_b0": Published(
        "d569899762ea9b1384ee07f4af64805cf8caa1c55f9253ebb1080dc40e87a2cd", "1b5383e5f79cc0f7fc067e372f8f26a5fa73f26a"
    ),
    "efficientnet_b4": Published("8030f9c929ed71a06728db4b61323960e573b463e68f310bd1bfb31ed62cbf91"),
    "inception_v3": Published("9c452c63a67fd03a38a78c401ba12d4be0e926df63c93403de3a29f6df20fefb"),
    "mobilenetv3_large_100": Published("f425af34cc1cead2b5d6211f789a1f30b94835dc32f9c0fcc5a916e4fd2dde85"),
    "mobilenetv3_small_100": Published(
        "46d2c063b18125884c48937afa4c49e18128869e52e8db96df48bf0a4d7ff697", "1824797e7887cbec1990e4adbd6675960a36c589"
    ),
    "resnet34": Published("829a220f9529d2b1ffdc8719d3273463001e0daf411eaf1916865d9db62c0ed2"),
    "resnet50": Published(
        "773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb", "767268603ca0cb0bfe326fa87277f19c419566ef"
    ),
    "squeezenet1_1": Published("b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"),
    "vgg16": Published(
        "57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8", "b8d8aa2dd860af9233c8c67385a8097fd6c35d3f"
    ),
}
