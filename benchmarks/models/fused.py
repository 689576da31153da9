"""How fast nets of blendshapes train on one CPU thread: the trainables in Keras, the same nets as PyTorch trains them by itself,
and populations (trainables/fused_training/), whose members train one after another or as stacks.

    .venv/bin/python benchmarks/models/fused.py --data runs/data/fer2013

CPU seconds of the process, which has one thread; one way after another, `--rounds` times; the best round of each counts. `begin`: from
hparams to the end of the first epoch, as each trial of a sweep pays it. `epoch`: of one model, later.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 4
SHAPE = {"transform": "logit", "standardise": True}
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM(33), LSTM(12), batch 150": ("blendshape_lstm", {"units": [33, 12], "batch_size": 150, "dropout": 0.2, **SHAPE}),
    "LSTM(64), (32), (16), batch 64": (
        "blendshape_lstm",
        {"units": [64, 32, 16], "batch_size": 64, "dropout": 0.2, "clipnorm": 1.0, **SHAPE},
    ),
    "Dense(128), (64), batch 128": (
        "blendshape_dense",
        {"units": [128, 64], "batch_size": 128, "dropout": 0.3, "activation": "gelu", "optimizer": "adamw", "weight_decay": 1e-3, **SHAPE},
    ),
}  # fmt: skip
WAYS = ["Keras", "PyTorch's autograd", "population", "stack of 4", "stack of 16"]


def arrays_of(data: Path) -> Any:
    from fersweep.data_pipeline.tasks.spec import TaskSpec
    from fersweep.data_pipeline.tasks.task import Task

    classes = {"happy": ["happy"], "sad": ["sad"], "neutral": ["neutral"]}
    return Task(data, TaskSpec(classes=classes, blendshapes="all")).arrays()


def measure(way: str, trainable: str, hparams: dict[str, Any], data: Path) -> tuple[float, float]:
    """(seconds to begin, seconds of an epoch of one model)."""
    from fersweep import trainables

    arrays = arrays_of(data)
    if way == "PyTorch's autograd":
        return autograd(trainable, hparams, arrays)
    if way == "Keras":
        trainables.build(trainable, hparams, arrays, 0)  # the framework is loaded once a process
        start = time.process_time()
        model = trainables.build(trainable, hparams, arrays, 1)
        model.fit(1)
        begun = time.process_time() - start
        return begun, min(_cpu_s(lambda: model.fit(1)) for _ in range(EPOCHS))
    from fersweep.trainables.fused_training.population import VectorPopulation

    module, many = trainables.load(trainable), int(way.removeprefix("stack of ")) if way.startswith("stack") else 1
    first: Any = module.build_fused([(hparams, 0)], arrays)
    first.fit()
    start = time.process_time()
    points = [(hparams, seed) for seed in range(many)]
    population = VectorPopulation(trainable, module.Hparams, first._make_net, points, arrays, most_stacked=many)
    population.fit()
    begun = (time.process_time() - start) / many
    return begun, min(_cpu_s(population.fit) / many for _ in range(EPOCHS))


def _cpu_s(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def autograd(trainable: str, hparams: dict[str, Any], arrays: Any) -> tuple[float, float]:
    """nn.LSTM or nn.Linear, Adam, one batch after another."""
    import torch
    from torch import nn

    torch.set_num_threads(1)

    class LSTMs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [arrays.train.x.shape[1], *hparams["units"]]
            self.layers = nn.ModuleList(nn.LSTM(a, b, batch_first=True) for a, b in pairwise(sizes))
            self.drop, self.head = nn.Dropout(hparams["dropout"]), nn.Linear(sizes[-1], 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x[:, None]
            for layer in self.layers:
                x = layer(self.drop(x))[0]
            return self.head(x[:, -1])

    def dense() -> nn.Module:
        sizes, layers = [arrays.train.x.shape[1], *hparams["units"]], list[nn.Module]()
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.GELU(), nn.Dropout(hparams["dropout"])]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], 3))

    start = time.process_time()
    net = LSTMs() if trainable == "blendshape_lstm" else dense()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)
    x, y, val = (
        torch.from_numpy(arrays.train.x),
        torch.from_numpy(arrays.train.y).long(),
        torch.from_numpy(arrays.val.x),
    )

    def epoch() -> float:
        begun = time.process_time()
        net.train()
        for rows in torch.randperm(len(y)).split(hparams["batch_size"]):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            net(val).softmax(1)
        return time.process_time() - begun

    epoch()
    begun = time.process_time() - start
    return begun, min(epoch() for _ in range(EPOCHS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.one:
        way, net = options.one
        print(json.dumps(measure(way, *NETS[net], options.data)))
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for _ in range(options.rounds):
        for net in NETS:
            for way in WAYS:
                command = [sys.executable, __file__, "--data", str(options.data.resolve()), "--one", way, net]
                answer = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
                figures = json.loads(answer.stdout.splitlines()[-1])
                before = best.get((net, way), figures)
                best[net, way] = (min(before[0], figures[0]), min(before[1], figures[1]))
    print("| net | way | begin, s | epoch, ms | faster than Keras by |\n|---|---|---|---|---|")
    for (net, way), (begin, epoch) in best.items():
        keras = best[net, "Keras"][1]
        print(f"| {net} | {way} | {begin:.2f} | {1000 * epoch:.1f} | {keras / epoch:.2f}× |")


if __name__ == "__main__":
    main()
