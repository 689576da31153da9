"""Steps of gpu.py in several processes: trials that share a GPU, a sweep, nets of blendshapes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from functools import partial

import numpy as np
from bench import BATCH, Bench, Rows, epochs_a_second, next_row, part

HSU = 16_500  # faces of happy, sad and neutral in FER2013's train, about


def share(bench: Bench) -> Rows:
    """Two processes with half a GPU each: images a second of one, before and while the other asks for too much."""
    before: list[float] = []
    beside: list[float] = []
    with part(bench, "modest") as modest:
        while len(before) < 3 and (epoch := next_row(modest)):
            before.append(epoch["images/s"])
        with part(bench, "greedy") as greedy:
            asked = next_row(greedy) or {"outcome": "killed", "ended": time.time()}
        while (epoch := next_row(modest)) and epoch["at"] < asked["ended"]:
            beside.append(epoch["images/s"])
        goes_on = epoch is not None
        modest.terminate()
    yield {"trial": "fits", "images/s, alone": _median(before), "images/s, beside": _median(beside), "goes on": goes_on}
    yield {"trial": "asks for too much", "outcome": asked["outcome"]}


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def modest(bench: Bench) -> Rows:
    arrays = bench.arrays()
    classifier = bench.build("cnn", arrays)
    classifier.fit(1)
    while True:
        start = time.monotonic()
        classifier.fit(1)
        yield {"at": time.time(), "images/s": len(arrays.train.y) / (time.monotonic() - start)}


def greedy(bench: Bench) -> Rows:
    from fersweep.trainables.protocol import TrialFailed

    arrays = bench.arrays()
    try:
        size = 48 if bench.tiny else 224
        classifier = bench.build("fer_sota", arrays, batch_size=len(arrays.train.y), image_size=size)
        outcome = f"fits: a batch of {classifier.batch_size} faces of {size} pixels"
    except TrialFailed as error:
        outcome = str(error)
    yield {"ended": time.time(), "outcome": outcome}


def sweep(bench: Bench) -> Rows:
    import torch

    gpu = torch.cuda.is_available()
    trials, epochs = (2, 1) if bench.tiny else (4, 4)
    rates: list[float] = []
    for share in (0.25, 1.0) if gpu else (0.0,):
        home = bench.work / f"home-{share:g}"
        shutil.rmtree(home, ignore_errors=True)
        command = [sys.executable, "-m", "fersweep", "launch", "cnn", "--data", str(bench.data), "--home", str(home)]
        command += ["--name", "gpu", "--trials", str(trials), "--max-epochs", str(epochs)]
        command += ["--set", f"stop.grace_epochs={epochs}", "--set", f"resources.gpus={share}"]
        begun = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.monotonic() - begun
        if done.returncode:
            yield {"gpus a trial": share, "exit code": done.returncode, "error": done.stderr.strip()[-300:]}
            continue
        rates.append(trials * epochs / seconds)
        compared = subprocess.run(
            [sys.executable, "-m", "fersweep", "compare", "gpu", "--home", str(home), "--json"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        yield {"gpus a trial": share, "trials": trials, "epochs a trial": epochs, "seconds": seconds,
               "trial-epochs/s": rates[-1], "faster by": rates[0] / rates[-1],
               "best val_accuracy": json.loads(compared.stdout)["trials"][0]["value"]}  # fmt: skip


def blendshapes(bench: Bench) -> Rows:
    """Throughput does not depend on the values: random scores, three classes."""
    for name in ("ours", "torch_lstm"):  # TensorFlow and torch do not go together in one process
        with part(bench, name) as process:
            while row := next_row(process):
                yield row


def scores(bench: Bench) -> tuple[np.ndarray, np.ndarray]:
    num = 256 if bench.tiny else HSU
    return np.random.default_rng(0).random((num, 52), np.float32), np.arange(num) % 3


def torch_lstm(bench: Bench) -> Rows:
    """The usual loop over the layers of an earlier project's best LSTM, one step of 52 scores a face."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LSTM(52, 33, batch_first=True), nn.LSTM(33, 12, batch_first=True)
            self.head = nn.Linear(12, 3)

        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            return self.head(self.second(self.first(faces)[0])[0][:, -1])

    def epoch(net: Net, optimizer: torch.optim.Optimizer, faces: torch.Tensor, labels: torch.Tensor) -> float:
        total = torch.zeros((), device=faces.device)
        for rows in torch.randperm(len(labels), device=faces.device).split(BATCH):
            loss = nn.functional.cross_entropy(net(faces[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return float(total)

    x, y = scores(bench)
    torch.set_num_threads(1)  # more only make such a small net slower
    for device in ["cpu", *["cuda"] * torch.cuda.is_available()]:
        net = Net().to(device)
        optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)
        faces, labels = torch.from_numpy(x)[:, None].to(device), torch.from_numpy(y).to(device)
        rate = epochs_a_second(partial(epoch, net, optimizer, faces, labels), bench)
        yield {"net": "LSTM(33), LSTM(12)", "way": f"torch's loop, {device}", "epochs/s": rate}


def ours(bench: Bench) -> Rows:
    """blendshape_lstm and blendshape_dense, on TensorFlow."""
    try:
        import tensorflow as tf
    except ImportError as error:
        yield {"net": "blendshape_lstm, blendshape_dense", "way": f"not measured: {error}"}
        return
    from fersweep import trainables
    from fersweep.data_pipeline.tasks.arrays import Arrays, TaskArrays
    from fersweep.data_pipeline.vocabulary import BLENDSHAPES

    x, y = scores(bench)
    ids = np.arange(len(y)).astype(str)
    train = Arrays(x, y.astype(np.int32), np.ones(len(y), np.float32), ids)
    val = Arrays(x[:BATCH], train.y[:BATCH], train.weight[:BATCH], ids[:BATCH])
    mean, std = np.zeros(52, np.float32), np.ones(52, np.float32)
    classes = ["happy", "sad", "neutral"]
    arrays = TaskArrays(train, val, classes, list(BLENDSHAPES), mean, std, np.ones(3, np.float32), "", {})
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    for name in ("blendshape_lstm", "blendshape_dense"):
        model = trainables.load(name).build({"batch_size": BATCH, "units": [33, 12]}, arrays, seed=0)
        yield {"net": name, "way": f"ours, {device}", "epochs/s": epochs_a_second(partial(model.fit, 1), bench)}
