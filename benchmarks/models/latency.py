"""Time of one prediction on one CPU core: in Python, and from the files that the model is exported to.

    .venv/bin/python benchmarks/models/latency.py blendshape_dense blendshape_lstm cnn transfer

Each model (whatever `fersweep evaluate` takes) is exported into a temporary directory and timed in a process of its own,
pinned to one core, with one thread. In each round every way makes CALLS predictions of one face, in another order each
round; a table's time is the median of all calls, a ratio the median of the rounds' ratios.

    predict              the trainable's own `predict`, in the precision of this machine
    predict, fp32        the same in float32, if that is another precision
    ONNX                 onnxruntime's session, called with the array
    LiteRT               LiteRT's interpreter, input set and output fetched
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
CALLS, ROUNDS, WARM = 40, 15, 20


class Timing(NamedTuple):
    median_ms: float
    low_ms: float
    """5th percentile of the calls."""
    high_ms: float
    """95th percentile."""
    ratio: float
    """Times as fast as `predict`."""
    num_bytes: int
    """Size of the exported file; 0: none."""


class Model(NamedTuple):
    name: str
    ways: dict[str, Timing]


def measure(spec: str, home: Path) -> Model:
    import numpy as np

    from fersweep.results.models.export import export, typical_inputs
    from fersweep.results.models.open_model import open_model

    model = open_model(spec, home).loaded
    x = typical_inputs(model.model, CALLS, getattr(model, "statistics", None))
    with tempfile.TemporaryDirectory() as directory:
        ways: dict[str, tuple[Callable[[Any], Any], int]] = {"predict": (model.predict, 0)}
        if getattr(model, "precision", "fp32") != "fp32":
            ways["predict, fp32"] = (model.predict_exactly, 0)
        for suffix, (name, make) in {".onnx": ("ONNX", _onnx), ".tflite": ("LiteRT", _litert)}.items():
            if suffix in model.EXPORTS:
                path = Path(directory) / f"model{suffix}"
                export(spec, path, home)
                ways[name] = (make(path), path.stat().st_size)
        seconds = _rounds({name: call for name, (call, _) in ways.items()}, x)
    figures = {}
    for name, rounds in seconds.items():
        pairs = zip(seconds["predict"], rounds, strict=True)
        ratios = [statistics.median(own) / statistics.median(here) for own, here in pairs]
        low, middle, high = np.percentile(np.concatenate(rounds) * 1000, [5, 50, 95]).tolist()
        figures[name] = Timing(middle, low, high, statistics.median(ratios), num_bytes=ways[name][1])
    h, precision = model.hparams, getattr(model, "precision", "fp32")
    size = f"{getattr(h, 'backbone', '')} {h.image_size} px" if hasattr(h, "image_size") else f"{list(h.units)} units"
    return Model(f"{model.model['trainable']} ({size.strip()}, {precision})", figures)


def _rounds(ways: dict[str, Callable[[Any], Any]], x: Any) -> dict[str, list[list[float]]]:
    """Seconds of each call of each round of each way."""
    for call in ways.values():
        for i in range(WARM):
            call(x[i % len(x)][None])
    seconds: dict[str, list[list[float]]] = {name: [] for name in ways}
    shuffle = random.Random(0)
    for _ in range(ROUNDS):
        for name in shuffle.sample(list(ways), len(ways)):
            calls = []
            for face in x:
                batch = face[None]
                start = time.perf_counter()
                ways[name](batch)
                calls.append(time.perf_counter() - start)
            seconds[name].append(calls)
    return seconds


def _onnx(path: Path) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})


def _litert(path: Path) -> Callable[[Any], Any]:
    from fersweep.trainables.exports.formats import open_exported

    return open_exported(path).predict


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--home", type=Path, default=Path("runs"))
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true", help="one model, measured in this process")
    options = parser.parse_args()
    if options.json:
        os.sched_setaffinity(0, {options.core})
        print(json.dumps(measure(options.models[0], options.home)))
        return
    print("| model | way | ms a face, median (5 % to 95 % of calls) | times as fast as predict | file, bytes |")
    print("|---|---|---|---|---|")
    quiet = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3"}
    for spec in options.models:
        command = [sys.executable, __file__, spec, "--home", str(options.home), "--core", str(options.core), "--json"]
        finished = subprocess.run(command, env={**os.environ, **quiet}, stdout=subprocess.PIPE, text=True, check=True)
        name, ways = json.loads(finished.stdout.splitlines()[-1])
        for i, (way, fields) in enumerate(ways.items()):
            timing = Timing(*fields)
            times = f"{timing.median_ms:.3f} ({timing.low_ms:.3f}–{timing.high_ms:.3f})"
            size = f"{timing.num_bytes:,}" if timing.num_bytes else ""
            print(f"| {name if i == 0 else ''} | {way} | {times} | {timing.ratio:.1f} | {size} |", flush=True)


if __name__ == "__main__":
    main()
