"""Step `fused` of gpu.py: how many models a device trains a second, K of them at once beside one alone.

Nets of blendshapes: the populations of trainables/fused_training. Small nets of convolutions: K nets as one whose convolutions
are grouped, as a population of `cnn` would be; there is none, unless a device is found on which it pays.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
from bench import Bench, Rows, epochs_a_second
from processes import HSU, scores

MEMBERS = (1, 4, 16, 64, 256)
FACES, SIDE, BATCH, WIDTHS = 2048, 48, 128, (8, 16, 32)


def fused(bench: Bench) -> Rows:
    yield from _populations(bench)
    yield from _grouped(bench)


def _populations(bench: Bench) -> Rows:
    import torch

    from fersweep import trainables
    from fersweep.data_pipeline.tasks.arrays import Arrays, TaskArrays
    from fersweep.data_pipeline.vocabulary import BLENDSHAPES

    x, y = scores(bench)
    ids = np.arange(len(y)).astype(str)
    train = Arrays(x, y.astype(np.int32), np.ones(len(y), np.float32), ids)
    val = Arrays(x[:256], train.y[:256], train.weight[:256], ids[:256])
    mean, std = np.zeros(52, np.float32), np.ones(52, np.float32)
    classes = ["happy", "sad", "neutral"]
    arrays = TaskArrays(train, val, classes, list(BLENDSHAPES), mean, std, np.ones(3, np.float32), "", {})
    device = "GPU" if torch.cuda.is_available() else "CPU"
    for name in ("blendshape_lstm", "blendshape_dense"):
        alone = 0.0
        for members in MEMBERS[:3] if bench.tiny else MEMBERS:
            if bench.left_s < 3:
                return
            hparams = {"units": [33, 12], "batch_size": 150, "dropout": 0.2}
            population = trainables.build_fused(name, [(hparams, seed) for seed in range(members)], arrays)
            rate = members * epochs_a_second(population.fit, bench)
            alone = alone or rate
            yield {"net": f"{name}, (33, 12)", "device": device, "faces": HSU if not bench.tiny else len(y), "members": members,
                   "model-epochs/s": rate, "faster than alone by": rate / alone}  # fmt: skip


def _grouped(bench: Bench) -> Rows:
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    alone = 0.0
    for members in MEMBERS[:3] if bench.tiny else MEMBERS[:4]:
        if bench.left_s < 3:
            return
        step = partial(_step, *_net(members, device), device)
        step()
        steps, start = 0, time.monotonic()
        while (spent := time.monotonic() - start) < (1 if bench.tiny else 2):
            step()
            steps += 1
        rate = members * steps * BATCH / spent
        alone = alone or rate
        yield {"net": f"convolutions {WIDTHS}, {SIDE} pixels", "device": "GPU" if device.type == "cuda" else "CPU", "members": members,
               "images/s, all together": rate, "faster than alone by": rate / alone}  # fmt: skip


def _net(members: int, device: Any) -> tuple[Any, Any, Any]:
    """(K nets as one, its optimizer, its head's weights (K, features, 7))."""
    import torch
    from torch import nn

    layers, inputs = list[nn.Module](), 1
    for width in WIDTHS:
        convolution = nn.Conv2d(members * inputs, members * width, 3, padding=1, bias=False, groups=members)
        layers += [convolution, nn.BatchNorm2d(members * width), nn.ReLU(), nn.MaxPool2d(2)]
        inputs = width
    net = nn.Sequential(*layers).to(device, memory_format=torch.channels_last)
    features = inputs * (SIDE // 2 ** len(WIDTHS)) ** 2
    head = torch.randn(members, features, 7, device=device).div_(features**0.5).requires_grad_()
    return net, torch.optim.Adam([*net.parameters(), head], 1e-3, fused=True), head


def _step(net: Any, optimizer: Any, head: Any, device: Any) -> None:
    """Each net learns from a batch of its own."""
    import torch
    from torch.nn import functional

    members = len(head)
    faces = torch.rand(BATCH, members, SIDE, SIDE, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(7, (members, BATCH), device=device)
    maps = net(faces).reshape(BATCH, members, -1).transpose(0, 1)
    loss = functional.cross_entropy(torch.bmm(maps, head).flatten(0, 1), labels.flatten())
    optimizer.zero_grad()
    (loss * members).backward()
    optimizer.step()
    float(loss.detach())  # waits for a GPU
