"""Steps of gpu.py that train nets of pixels in one process."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench import Bench, Rows


def speed(bench: Bench) -> Rows:
    """The first way of a net is measured again at its end: how much the machine drifts."""
    import images_torch

    arrays = bench.arrays()
    workers = min(8, len(os.sched_getaffinity(0)))
    measured: dict[str, float] = {}

    def row(net: str, way: str, make: Callable[[], Any]) -> dict[str, Any]:
        begun = time.monotonic()
        made = make()
        made.train_epoch()
        first_s = time.monotonic() - begun
        epochs, start = 0, time.monotonic()
        while (spent := time.monotonic() - start) < (0.2 if bench.tiny else 2) or epochs == 0:
            made.train_epoch()
            epochs += 1
        rate = epochs * len(arrays.train.y) / spent
        ratio = measured.setdefault(net, rate) / rate
        return {
            "net": net, "way": way, "precision": made.precision, "images/s": rate, "ours / this": ratio,
            "start and first epoch, s": first_s, "weights": made.num_weights,
        }  # fmt: skip

    nets = ("cnn", "fer_sota", "transfer")
    ways: list[tuple[str, Callable[[str], Any]]] = [
        ("ours", lambda net: images_torch.ours(net, arrays)),
        ("net alone", lambda net: images_torch.net_alone(net, arrays)),
        ("ours, other precision", lambda net: images_torch.ours(net, arrays, "other precision")),
        ("ours, batches of 512", lambda net: images_torch.ours(net, arrays, batch_size=512)),
        (f"DataLoader, {workers} workers", lambda net: images_torch.dataloader(net, arrays, workers)),
        ("ours, again", lambda net: images_torch.ours(net, arrays)),
        ("ours, compiled", lambda net: images_torch.ours(net, arrays, "compiled")),
    ]
    for way, make in ways:
        for net in nets:
            yield row(net, way, lambda make=make, net=net: make(net))


def resume(bench: Bench) -> Rows:
    import torch

    arrays = bench.arrays()
    for net, precision in (("cnn", "bf16"), ("cnn", "fp32"), ("fer_sota", "auto"), ("transfer", "auto")):
        whole = bench.build(net, arrays, precision=precision)
        expected = whole.fit(2)[-1]
        with tempfile.TemporaryDirectory() as directory:
            begun = bench.build(net, arrays, precision=precision)
            begun.fit(1)
            begun.save(Path(directory))
            loaded = bench.build(net, arrays, precision=precision)
            loaded.load(Path(directory))
        metrics = loaded.fit(1)[-1]
        weights = zip(whole._net.state_dict().values(), loaded._net.state_dict().values(), strict=True)
        yield {
            "net": net,
            "precision": whole.precision,
            "weights equal to the bit": all(torch.equal(one, other) for one, other in weights),
            "largest difference of a probability": float(
                np.abs(whole.val_probabilities - loaded.val_probabilities).max()
            ),
            "train_loss": expected["train_loss"],
            "train_loss, resumed": metrics["train_loss"],
        }


def batch(bench: Bench) -> Rows:
    import torch

    from fersweep.trainables.gpu_share import SHARE

    arrays = bench.arrays()
    for net in ("cnn", "fer_sota", "transfer"):
        for share, size in ((1.0, 48), (0.25, 48), (0.25, 224)):
            os.environ[SHARE] = str(share)
            begun = time.monotonic()
            classifier = bench.build(net, arrays, batch_size="auto", image_size=48 if bench.tiny else size)
            row = {"net": net, "share": share, "image_size": size, "batch_size": classifier.batch_size}
            row |= {"seconds": time.monotonic() - begun, "peak, MiB": _peak_mib()}
            yield row
            del classifier
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()


def _peak_mib() -> float | None:
    import torch

    return torch.cuda.max_memory_reserved() / 2**20 if torch.cuda.is_available() else None


def fer_sota(bench: Bench) -> Rows:
    """The point is fixed beforehand, so that PublicTest chooses nothing but how it is read: after each epoch."""
    arrays = bench.arrays()
    from images_torch import FER_SOTA

    batch_size = FER_SOTA["batch_size"]
    probe = bench.build("fer_sota", arrays, batch_size=batch_size)
    probe.fit(1)
    start = time.monotonic()
    probe.fit(1)
    epoch_s = time.monotonic() - start
    epochs = max(min(120, int(0.9 * bench.left_s / epoch_s)), 1)
    epochs = 2 if bench.tiny else epochs
    more = {"schedule_epochs": epochs, "tta": True}
    classifier = bench.build("fer_sota", arrays, batch_size=batch_size, **more)
    counts = np.bincount(arrays.val.y)
    for epoch in range(1, epochs + 1):
        (metrics,) = classifier.fit(1)
        names = ("train_loss", "val_loss", "val_accuracy", "val_macro_f1", "val_tta_accuracy", "epoch_s")
        row = {name: float(metrics[name]) for name in names if name in metrics}
        yield {"epoch": f"{epoch} of {epochs}", **row, "majority": float(counts.max() / counts.sum())}
