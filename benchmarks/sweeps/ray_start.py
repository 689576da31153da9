"""Ray on this machine as fersweep starts it, beside `ray.init` with the same arguments: time until it answers, and the CPU time of
all its processes until one actor has answered.

    .venv/bin/python benchmarks/sweeps/ray_start.py --rounds 5
"""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any

SETTLE_S = 3.0  # for what Ray starts beside the actor


def connect(way: str) -> None:
    if way == "fersweep":
        from fersweep.common.ray_connection import connect

        connect(None, 2)
    else:
        import ray

        variables = {"env_vars": {"TF_CPP_MIN_LOG_LEVEL": "3"}}
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=variables)


def measure(way: str) -> None:
    """Print two figures: seconds until Ray is there, and CPU seconds of its processes."""
    import psutil
    import ray

    start = time.perf_counter()
    connect(way)
    connected_s = time.perf_counter() - start

    class Actor:
        def answer(self) -> int:
            return 1

    remote: Any = ray.remote(Actor)
    actor = remote.remote()
    ray.get(actor.answer.remote())
    time.sleep(SETTLE_S)
    used = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    print(connected_s, sum(times.user + times.system for times in used))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", choices=["fersweep", "ray"])
    options = parser.parse_args()
    if options.way:
        measure(options.way)
        return
    figures: dict[str, list[list[float]]] = {"fersweep": [], "ray": []}
    for _ in range(options.rounds):
        for way, measured in figures.items():
            command = [sys.executable, __file__, "--way", way]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            measured.append([float(figure) for figure in out.split()[-2:]])
    for number, what in enumerate(["s until Ray is there", "CPU s of its processes"]):
        ours, plain = ([row[number] for row in figures[way]] for way in ("fersweep", "ray"))
        medians = statistics.median(ours), statistics.median(plain)
        print(f"{what}: fersweep {medians[0]:.2f}, ray.init {medians[1]:.2f}; ratio {medians[0] / medians[1]:.2f}")


if __name__ == "__main__":
    main()
