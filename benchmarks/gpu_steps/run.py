"""One step of gpu.py: prints its rows as JSON, one a line, as soon as it has them."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from bench import Bench, Rows
from fused import fused
from nets import batch, fer_sota, resume, speed
from processes import blendshapes, greedy, modest, ours, share, sweep, torch_lstm


def machine(bench: Bench) -> Rows:
    import torch

    cuda = torch.cuda.is_available()
    gpu = torch.cuda.get_device_properties(0) if cuda else None
    yield {
        "GPU": f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" if gpu else "none",
        "torch": torch.__version__,
        "cuDNN": torch.backends.cudnn.version() if cuda else None,
        "data": str(bench.data.name) if not bench.tiny else "made-up faces",
    }


STEPS = (machine, speed, resume, batch, share, modest, greedy, sweep, blendshapes, ours, torch_lstm, fused, fer_sota)


def _dataset(options: argparse.Namespace) -> Path:
    """The dataset to train on: the user's, or made of the kit's faces, or of made-up ones."""
    if options.data is not None:
        return options.data
    data = options.work / ("tiny" if options.tiny else "fer2013")
    if not (data / "manifest.json").exists():
        shutil.rmtree(data, ignore_errors=True)
        _write_dataset(data, *(_made_up_faces() if options.tiny else _faces_of_kit(options.faces)))
    return data


def _made_up_faces() -> tuple[np.ndarray, list[str], list[str]]:
    rng = np.random.default_rng(0)
    y = np.arange(420) % 7
    faces = rng.integers(0, 120, (420, 48, 48)) + 18 * y[:, None, None]
    labels = np.array(["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"])[y].tolist()
    return faces.astype(np.uint8), labels, (["train"] * 5 + ["val"]) * 70


def _faces_of_kit(folder: Path | None) -> tuple[np.ndarray, list[str], list[str]]:
    """(N, 48, 48) uint8, labels, splits of the pack that gpu_kit.sh makes: a lossless mosaic, and a table."""
    from PIL import Image

    if folder is None or not (folder / "faces.json").exists():
        sys.exit("no faces: give --data DATASET, or --kit with the pack of faces of gpu_kit.sh, or --tiny")
    table = json.loads((folder / "faces.json").read_text())
    with Image.open(folder / "faces.webp") as image:
        mosaic = np.asarray(image.convert("L"))
    side = mosaic.shape[0] // 48
    faces = mosaic.reshape(side, 48, side, 48).swapaxes(1, 2).reshape(-1, 48, 48)
    return faces[: len(table["labels"])], table["labels"], table["splits"]


def _write_dataset(data: Path, faces: np.ndarray, labels: list[str], splits: list[str]) -> None:
    from fersweep.data_pipeline.dataset.schema import make_rows
    from fersweep.data_pipeline.dataset.seal import write_dataset

    nothing = np.full((len(faces), 52), np.nan, np.float32)
    rows = make_rows(
        faces.shape[1:], blendshapes=nothing, pixels=faces, label=labels, split=splits,
        source=[f"fer2013:{row}" for row in range(len(faces))], duplicate_of=[None] * len(faces),
    )  # fmt: skip
    write_dataset(data, rows, {"image_size": faces.shape[1:], "sources": [], "landmarks": None, "command": ""})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=[step.__name__ for step in STEPS])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + options.seconds
    bench = Bench(_dataset(options), options.work, options.tiny, ends)
    (step,) = [step for step in STEPS if step.__name__ == options.step]
    for row in step(bench):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
