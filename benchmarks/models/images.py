"""Images a second of training, augmentation included: the image models of trainables/ beside usual code, and beside the
net alone, which is the upper limit.

    .venv/bin/python benchmarks/models/images.py --data runs/data/fer2013

The four-convolution net of search_spaces/cnn.py (`seed_lobo`) and EfficientNet-Lite0 from random weights, 48 px, batches of 64,
Adam; mirrored, rotated by up to 10°, zoomed by up to 15 %. Each way runs in a process of its own with all cores, one
after another, in another order each round; the first epoch is not timed. A ratio is the median of the rounds' ratios.

    ours                 an epoch of TorchClassifier without its validation; also with the precision that `auto` does not
                         choose, with torch.compile, with torch's own convolutions (instead of torch_training/
                         cpu_convolutions.py), and with glibc's defaults for malloc (torch_training/device.py makes it
                         keep freed memory, in all ways of torch)
    net alone            the same net and precision on one batch that stays on the device, not augmented
    DataLoader           the same, fed by torch's DataLoader with torchvision's transforms on PIL images
    Keras …              the same architecture, fed by ImageDataGenerator's flow and flow_from_directory, or by
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

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
NETS = {"cnn": "four convolutions", "transfer": "EfficientNet-Lite0"}  # trainable → its net here
BATCH, SIZE, ROTATION, ZOOM = 64, 48, 10.0, 0.15
FACES_CPU = 1024
MEASURED_S = 3  # least duration of a measurement
FER2013_FACES = 28_709
CORES = len(os.sched_getaffinity(0))
WAYS: dict[str, tuple[Any, ...]] = {  # name → module, function, its arguments after net and arrays
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
    """One way of training one net. `train_epoch` returns when the device has finished."""

    train_epoch: Callable[[], object]
    num_weights: int
    precision: str


def load_faces(data: Path, num: int | None) -> Any:
    """TaskArrays with `num` faces of train, drawn (None: all), a whole number of batches, and one batch of val."""
    import numpy as np

    from fersweep.data_pipeline.tasks.spec import TaskSpec
    from fersweep.data_pipeline.tasks.task import Task

    def part(arrays: Any, rows: np.ndarray) -> Any:
        columns = {name: getattr(arrays, name)[rows] for name in ("x", "y", "weight", "face_ids")}
        return dataclasses.replace(arrays, **columns, votes=None)

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


@dataclasses.dataclass
class Measurement:
    rate: float
    """Faces a second."""
    num_weights: int
    precision: str


def run_way(name: str, data: Path, faces: int | None) -> dict[str, Measurement]:
    """Measure a way in this process: net → measurement."""
    arrays = load_faces(data, faces)
    module, function, *rest = WAYS[name]
    measurements = {}
    for net in NETS:
        way = getattr(importlib.import_module(module), function)(net, arrays, *rest)
        rate = measure(way, len(arrays.train.y))
        measurements[net] = Measurement(rate, way.num_weights, way.precision)
    return measurements


def run_apart(name: str, data: Path, faces: int | None) -> dict[str, Measurement]:
    """`run_way` in a process of its own. Its temporary files are removed."""
    command = [sys.executable, __file__, "--data", str(data), "--way", name]
    command += ["--faces", str(faces)] if faces else []
    with tempfile.TemporaryDirectory() as scratch:
        environment = {"OMP_NUM_THREADS": str(CORES), "TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": scratch}
        finished = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if finished.returncode:
        sys.exit(f"{name}: {finished.stderr}")
    return {net: Measurement(**fields) for net, fields in json.loads(finished.stdout.splitlines()[-1]).items()}


def print_table(rounds: list[dict[str, dict[str, Measurement]]]) -> None:
    """Each of `rounds`: way → net → measurement."""
    print("| net | way | precision | images/s (range) | ours / this | an epoch of FER2013, s |")
    print("|---|---|---|---|---|---|")
    for net, title in NETS.items():
        (num_weights,) = {ways[name][net].num_weights for ways in rounds for name in WAYS}  # all train the same net
        for name in WAYS:
            rates = [ways[name][net].rate for ways in rounds]
            rate = statistics.median(rates)
            ratio = statistics.median(ways["ours"][net].rate / ways[name][net].rate for ways in rounds)
            label = f"{title}, {num_weights:,} weights" if name == "ours" else ""
            figures = f"{rate:,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) | {ratio:.2f} | {FER2013_FACES / rate:.1f}"
            print(f"| {label} | {name} | {rounds[0][name][net].precision} | {figures} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/data/fer2013")
    parser.add_argument("--faces", type=int, help=f"of train in an epoch (default: {FACES_CPU}; on a GPU all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        measurements = run_way(options.way, options.data, options.faces)
        print(json.dumps({net: dataclasses.asdict(measurement) for net, measurement in measurements.items()}))
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
