"""Reading a dataset: pixels (dataset/pixels.py) and scores (parts.open_table) beside plain pandas and pyarrow; time and memory.

    .venv/bin/python benchmarks/data/reading.py runs/data/fer2013

Each way runs three times in a process of its own, with the files in the cache. Printed are the CPU seconds of the best run
and the growth of the process's peak memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")
RUNS = 3


def pixels_ours(dataset: Path) -> object:
    from fersweep.data_pipeline.dataset.pixels import pixels

    return pixels(dataset)


def pixels_half(dataset: Path) -> object:
    import numpy as np

    from fersweep.data_pipeline.dataset.manifest import read_manifest
    from fersweep.data_pipeline.dataset.pixels import pixels

    rows = sum(part["num_rows"] for part in read_manifest(dataset)["parts"])
    return pixels(dataset, np.sort(np.random.default_rng(0).choice(rows, rows // 2, replace=False)))


def pixels_pyarrow(dataset: Path) -> object:
    import numpy as np
    import pyarrow.parquet as pq

    faces = pq.read_table(dataset / "faces", columns=["pixels"])["pixels"].to_pylist()
    return np.frombuffer(b"".join(faces), np.uint8)


def pixels_pandas(dataset: Path) -> object:
    import numpy as np
    import pandas

    faces = pandas.read_parquet(dataset / "faces", columns=["pixels"])["pixels"]
    return np.stack([np.frombuffer(face, np.uint8) for face in faces])


def scores_ours(dataset: Path) -> object:
    import numpy as np

    from fersweep.data_pipeline.dataset.parts import open_table
    from fersweep.data_pipeline.vocabulary import BLENDSHAPES

    table = open_table(dataset, BLENDSHAPES)
    return np.column_stack([table[name].to_numpy() for name in BLENDSHAPES])


def scores_pandas(dataset: Path) -> object:
    import pandas

    from fersweep.data_pipeline.vocabulary import BLENDSHAPES

    return pandas.read_parquet(dataset / "faces", columns=list(BLENDSHAPES)).to_numpy()


def task_blendshapes(dataset: Path) -> object:
    from fersweep.data_pipeline.tasks.task import Task

    return Task(dataset).arrays()


def task_pixels(dataset: Path) -> object:
    from fersweep.data_pipeline.tasks.spec import TaskSpec
    from fersweep.data_pipeline.tasks.task import Task

    return Task(dataset, TaskSpec(features="pixels")).arrays()


def check_whole(dataset: Path) -> object:
    from fersweep.data_pipeline.dataset.integrity import check_parts
    from fersweep.data_pipeline.dataset.manifest import read_manifest

    check_parts(dataset, read_manifest(dataset), whole=True)
    return None


def check_remembered(dataset: Path) -> object:
    from fersweep.data_pipeline.dataset.integrity import check_parts
    from fersweep.data_pipeline.dataset.manifest import read_manifest

    check_parts(dataset, read_manifest(dataset))
    return None


WAYS: dict[str, Callable[[Path], object]] = {
    "pixels: pixels.pixels": pixels_ours,
    "pixels: half of the rows": pixels_half,
    "pixels: pyarrow": pixels_pyarrow,
    "pixels: pandas": pixels_pandas,
    "scores: open_table": scores_ours,
    "scores: pandas": scores_pandas,
    "parts: every byte compared": check_whole,
    "parts: as remembered": check_remembered,
    "task: blendshapes": task_blendshapes,
    "task: pixels": task_pixels,
}


def measure(way: str, dataset: Path) -> dict[str, float]:
    import numpy
    import pandas
    import pyarrow.parquet

    from fersweep.data_pipeline.dataset import pixels as reading
    from fersweep.data_pipeline.tasks import task  # imported before the clock starts, for every way

    assert all((numpy, pandas, pyarrow.parquet, reading, task))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        WAYS[way](dataset)
        seconds.append(time.process_time() - start)
    return {"cpu_s": min(seconds), "peak_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024}


def main() -> None:
    dataset = Path(sys.argv[1])
    if len(sys.argv) > 2:
        print(json.dumps(measure(sys.argv[2], dataset)))
        return
    for path in (dataset / "faces").iterdir():
        path.read_bytes()
    print(f"{'':26} CPU seconds   peak MB")
    for way in WAYS:
        finished = subprocess.run(
            [sys.executable, __file__, str(dataset), way], capture_output=True, text=True, check=True
        )
        figures = json.loads(finished.stdout)
        print(f"{way:26} {figures['cpu_s']:11.3f} {figures['peak_mb']:9.0f}")


if __name__ == "__main__":
    main()
