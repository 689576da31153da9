"""How workers get a task's arrays: sent through Ray's object store, or mapped from their machine's disk (tasks/node_arrays.py).

    .venv/bin/python benchmarks/data/staging.py --mb 32 128 512 --workers 4

For each size a dataset of random faces is made, and each way runs in a Ray of its own: the driver makes the arrays, then so many
workers read all faces once in batches, as an epoch does. Printed are bytes in the object store, what the arrays take of the
driver's and the workers' own memory, all that together, which the system cannot drop (pages of files it can), and the seconds
until the arrays are made, until the first worker and the others have them, and of the reading; then the ratios of the two ways.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")
SIDE, PART = 48, 20_000
BATCH = 256
WAYS = ("sent", "mapped")


def write_faces(directory: Path, num_bytes: int) -> None:
    """A dataset with pixels of so many bytes: five sixths train, the rest val."""
    import numpy as np

    from fersweep.data_pipeline.dataset.parts import write_part
    from fersweep.data_pipeline.dataset.schema import make_rows
    from fersweep.data_pipeline.dataset.seal import seal
    from fersweep.data_pipeline.vocabulary import BLENDSHAPES

    rng, total = np.random.default_rng(0), num_bytes // SIDE**2
    for number, start in enumerate(range(0, total, PART)):
        count = min(PART, total - start)
        rows = make_rows(
            (SIDE, SIDE),
            blendshapes=np.full((count, len(BLENDSHAPES)), np.nan, np.float32),
            pixels=rng.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8),
            source=[f"random:{start + index}" for index in range(count)],
            split=["val" if index % 6 == 5 else "train" for index in range(count)],
            label=[("happy", "sad", "neutral")[index // 6 % 3] for index in range(count)],
            duplicate_of=[None] * count,
        )
        write_part(directory, number, rows)
    seal(directory, {"image_size": (SIDE, SIDE), "landmarks": None, "sources": [], "options": {}, "command": ""})


def measure(way: str, dataset: Path, num_workers: int) -> dict[str, float]:
    """One way, in this process and its own Ray."""
    import ray

    from fersweep.common import ray_connection
    from fersweep.data_pipeline.tasks import node_arrays
    from fersweep.data_pipeline.tasks.spec import TaskSpec
    from fersweep.data_pipeline.tasks.task import Task

    node_arrays.SENT_BYTES = 2**40 if way == "sent" else 0
    ray_connection.connect(None, num_cpus=num_workers, object_store_bytes=2 * 2**30)
    before = _memory_mb("RssAnon")
    start = time.perf_counter()
    arrays = node_arrays.load(Task(dataset, TaskSpec(features="pixels")))
    made_s = time.perf_counter() - start
    driver_mb = _memory_mb("RssAnon") - before
    told = ray.put(node_arrays.told(arrays))  # its pages are this process's shared memory
    stored_mb = _memory_mb("RssShmem")

    workers = [ray.remote(num_cpus=1)(Worker).remote() for _ in range(num_workers)]
    own_mb = sum(ray.get([worker.memory_mb.remote() for worker in workers]))
    first = ray.get(workers[0].open.remote([told]))
    others = ray.get([worker.open.remote([told]) for worker in workers[1:]])
    read = ray.get([worker.read.remote() for worker in workers])
    workers_mb = sum(ray.get([worker.memory_mb.remote() for worker in workers])) - own_mb
    ray.shutdown()
    return {
        "object_store_mb": stored_mb,
        "driver_own_mb": driver_mb,
        "workers_own_mb": workers_mb,
        "held_mb": stored_mb + driver_mb + workers_mb,
        "made_s": made_s,
        "first_worker_s": first,
        "other_workers_s": max(others),
        "epoch_s": max(read),
    }


class Worker:
    def memory_mb(self) -> float:
        import fersweep.data_pipeline.tasks.node_arrays  # noqa: F401

        return _memory_mb("RssAnon")

    def open(self, told: list[Any]) -> float:
        import ray

        from fersweep.data_pipeline.tasks import node_arrays

        start = time.perf_counter()
        self.arrays = node_arrays.opened(ray.get(told[0]))
        return time.perf_counter() - start

    def read(self) -> float:
        import numpy as np

        x, start = self.arrays.train.x, time.perf_counter()
        order = np.random.default_rng(0).permutation(len(x))
        for first in range(0, len(x), BATCH):
            x[order[first : first + BATCH]].sum()
        return time.perf_counter() - start


def _memory_mb(kind: str) -> float:
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        way, dataset = options.measure
        print(json.dumps(measure(way, Path(dataset), options.workers)))
        return
    for size in options.mb:
        with tempfile.TemporaryDirectory(prefix="staging-") as scratch:
            write_faces(Path(scratch) / "faces", size * 10**6)
            results = {}
            for way in WAYS:
                environment = {**os.environ, "FERSWEEP_STAGED": f"{scratch}/staged"}
                command = [
                    sys.executable,
                    __file__,
                    "--measure",
                    way,
                    f"{scratch}/faces",
                    "--workers",
                    str(options.workers),
                ]
                done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
                if done.returncode:
                    sys.exit(done.stderr)
                results[way] = json.loads(done.stdout.splitlines()[-1])
        print(f"\n{size} MB of pixels, {options.workers} workers{'':>12}sent{'':>6}mapped  mapped/sent")
        for name, sent in results["sent"].items():
            mapped = results["mapped"][name]
            print(f"{name:<32}{sent:10.3f}{mapped:12.3f}{mapped / sent if sent else float('nan'):13.2f}")


if __name__ == "__main__":
    main()
