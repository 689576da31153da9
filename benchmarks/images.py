"""Images a second of training, augmentation included: the image models of trainables/ beside what one writes without
them, and beside the net alone, which nothing that trains it can outrun.

    .venv/bin/python benchmarks/images.py --data runs/data/fer2013

The four-convolution net of search_spaces/cnn.py (`seed_lobo`) and EfficientNet-Lite0 from chance, 48 px, batches of 64,
Adam; mirrored, rotated by up to 10°, zoomed by up to 15 %. Each way runs in a process of its own with all cores, one
after another, in another order each round; an epoch before the clock starts. A ratio is the median of the rounds' ratios.

    ours                 an epoch of TorchClassifier without its validation; besides with the precision that `auto` did
                         not choose, with torch.compile, with all convolutions done as torch does them (instead of
                         trainables/torch_training/cpu_convolutions.py), and with malloc as it is (trainables/torch_training/device.py tells it to
                         keep what is freed, in all ways of torch)
    net alone            the same net and precision on one batch that stays on the device, not augmented
    DataLoader           the same again, fed by torch's DataLoader with torchvision's transforms on PIL images
    Keras …              the same architecture, fed by what is named: ImageDataGenerator's flow and flow_from_directory,
                         image_dataset_from_directory with augmenting layers
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
NETS = {"cnn": "four convolutions", "transfer": "EfficientNet-Lite0"}  # trainable → what it is here
BATCH, SIZE, ROTATION, ZOOM = 64, 48, 10.0, 0.15
FACES_CPU = 1024
MEASURED_S = 3  # a measurement goes on for at least so long
FER2013_FACES = 28_709
CORES = len(os.sched_getaffinity(0))
WAYS: dict[str, tuple[Any, ...]] = {  # name → module, function, what it takes beside net and arrays
    "ours": ("images_torch", "ours"),
    "ours, other precision": ("images_torch", "ours", "other precision"),
    "ours, compiled": ("images_torch", "ours", "compiled"),
    "ours, torch's convolutions": ("images_torch", "ours", "torch's convolutions"),
    "ours, malloc as it is": ("images_torch", "ours", "malloc as it is"),
    "net alone": ("images_torch", "net_alone"),
    "DataLoader, 0 workers": ("images_torch", "dataloader", 0),
    f"DataLoader, {CORES} workers": ("images_torch", "dataloader", CORES),
    "Keras flow": ("images_keras", "flow"),
    "Keras flow_from_directory": ("images_keras", "flow_from_directory"),
    "Keras image_dataset_from_directory": ("images_keras", "image_dataset_from_directory"),
}


@dataclasses.dataclass
class Way:
    """One way of training one net. `train_epoch` returns when the device has done all of it."""

    train_epoch: Callable[[], object]
    num_weights: int
    precision: str


def load_faces(data: Path, num: int | None) -> Any:
    """TaskArrays with `num` faces of train, drawn (None: all), a whole number of batches, and one batch of val."""
    import numpy as np

    from fersweep.data_pipeline.tasks.spec import TaskSpec
    from fersweep.data_pipeline.tasks.task import Task

    def part(arrays: Any, rows: np.ndarray) -> Any:
        kept = {name: getattr(arrays, name)[rows] for name in ("x", "y", "weight", "face_ids")}
        return dataclasses.replace(arrays, **kept, votes=None)

    arrays = Task(data, TaskSpec(features="pixels")).arrays()
    rows = np.random.default_rng(0).permutation(len(arrays.train.y))[:num]
    train = part(arrays.train, rows[: len(rows) // BATCH * BATCH])
    return dataclasses.replace(arrays, train=train, val=part(arrays.val, np.arange(BATCH)))


def measure(way: Way, num_faces: int) -> float:
    """Faces a second."""
    way.train_epoch()
    epochs, start = 0, time.perf_counter()
    while time.perf_counter() - start < MEASURED_S:
        way.train_epoch()
        epochs += 1
    return epochs * num_faces / (time.perf_counter() - start)


def run_way(name: str, data: Path, faces: int | None) -> dict[str, dict[str, Any]]:
    """In this process: net → what was measured."""
    arrays = load_faces(data, faces)
    module, function, *rest = WAYS[name]
    found = {}
    for net in NETS:
        way = getattr(importlib.import_module(module), function)(net, arrays, *rest)
        rate = measure(way, len(arrays.train.y))
        found[net] = {"rate": rate, "num_weights": way.num_weights, "precision": way.precision}
    return found


def run_apart(name: str, data: Path, faces: int | None) -> dict[str, dict[str, Any]]:
    """In a process of its own. What it writes goes to a directory that is removed."""
    command = [sys.executable, __file__, "--data", str(data), "--way", name]
    command += ["--faces", str(faces)] if faces else []
    with tempfile.TemporaryDirectory() as scratch:
        environment = {"OMP_NUM_THREADS": str(CORES), "TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": scratch}
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def print_table(rounds: list[dict[str, dict[str, dict[str, Any]]]]) -> None:
    """`rounds`: way → net → what was measured, each."""
    print("| net | way | precision | images/s (range) | ours / this | an epoch of FER2013, s |")
    print("|---|---|---|---|---|---|")
    for net, title in NETS.items():
        (num_weights,) = {one[name][net]["num_weights"] for one in rounds for name in WAYS}  # all train the same net
        for name in WAYS:
            rates = [one[name][net]["rate"] for one in rounds]
            rate = statistics.median(rates)
            ratio = statistics.median(one["ours"][net]["rate"] / one[name][net]["rate"] for one in rounds)
            what = f"{title}, {num_weights:,} weights" if name == "ours" else ""
            figures = f"{rate:,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) | {ratio:.2f} | {FER2013_FACES / rate:.1f}"
            print(f"| {what} | {name} | {rounds[0][name][net]['precision']} | {figures} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/data/fer2013")
    parser.add_argument("--faces", type=int, help=f"of train in an epoch (default: {FACES_CPU}; on a GPU all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(run_way(options.way, options.data, options.faces)))
        return

    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    faces = options.faces or (None if gpu else FACES_CPU)
    rounds, names = [], [*WAYS]
    for _ in range(options.rounds):
        rounds.append({name: run_apart(name, options.data, faces) for name in names})
        names = [*names[2:], *names[:2]]
    print(f"{CORES} cores, {gpu or 'no GPU'}; {faces or 'all'} faces of train; medians of {options.rounds} rounds\n")
    print_table(rounds)


if __name__ == "__main__":
    main()
