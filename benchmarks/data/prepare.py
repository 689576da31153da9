"""Faces a second of `prepare` on 1, 2, … cores beside a plain loop over MediaPipe in one process.

    .venv/bin/python benchmarks/data/prepare.py fer2013.csv.zip --faces 6000 --cores 1 2

The first `--faces` rows of the CSV are prepared without cache and without near-duplicates, start of Ray and of the workers
included and, as `steady`, from the first faces on. The plain loop decodes the same rows, adds the border, enlarges them and
calls MediaPipe, one after the other, pinned to one core. It is timed before and after, and the mean is taken, since
machines are noisy. `ratio` is steady faces/s over cores × the plain loop's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

LOOP = """
import sys, time
from pathlib import Path
from fersweep.data_pipeline.faces.landmarker_bundle import find_bundle
from fersweep.data_pipeline.faces.landmarker import Landmarker
from fersweep.data_pipeline.sources.decode import decode
from fersweep.data_pipeline.sources.source import open_source
views, num = int(sys.argv[2]), int(sys.argv[3])
with Landmarker(find_bundle(), views=views) as landmarker:
    began = time.perf_counter()
    for number, face in enumerate(open_source(Path(sys.argv[1])).faces(), start=1):
        landmarker.read(decode(face))
        if number == num:
            break
    print(number / (time.perf_counter() - began))
"""
PREPARE = """
import json, sys, time
from pathlib import Path
from fersweep.data_pipeline.prepare.options import Options
from fersweep.data_pipeline.prepare.preparation import prepare
out, views, cores = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
reports, began = [], time.perf_counter()
prepare([Path(sys.argv[1])], out, Options(views=views), workers=cores, cache=out.parent / "cache",
        progress=lambda p: reports.append((time.perf_counter() - began, p.phase, p.done)))
whole = time.perf_counter() - began
extract = [(at_s, done) for at_s, phase, done in reports if phase == "extract"]
(first_s, first), (last_s, last) = extract[0], extract[-1]
print(json.dumps({"steady": (last - first) / (last_s - first_s), "whole_s": whole, "after_s": whole - last_s, "start_s": first_s}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="FER2013's CSV, plain or zipped")
    parser.add_argument("--faces", type=int, default=6000)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--views", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = first_rows(options.source, options.faces, Path(scratch) / "faces.csv")
        print(f"{options.faces:,} faces, {options.views} views")
        for cores in options.cores:
            before = plain_loop(source, options)
            out = Path(scratch) / f"cores{cores}" / "dataset"
            arguments = [str(source), str(out), str(options.views), str(cores)]
            pinned = ["taskset", "-c", f"0-{cores - 1}"]
            figures = json.loads(run([*pinned, sys.executable, "-c", PREPARE, *arguments]))
            loop = (before + plain_loop(source, options)) / 2
            ratio = figures["steady"] / (cores * loop)
            whole = options.faces / figures["whole_s"]
            print(
                f"{cores} core(s): plain loop {loop:.0f} faces/s, prepare steady {figures['steady']:.0f}, ratio {ratio:.2f}; "
                f"with start ({figures['start_s']:.0f} s) and end ({figures['after_s']:.0f} s) {whole:.0f}"
            )


def first_rows(source: Path, num: int, target: Path) -> Path:
    """The header and the first rows of the CSV, plain."""
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive, archive.open(archive.namelist()[0]) as file:
            lines = [file.readline() for _ in range(num + 1)]
    else:
        with source.open("rb") as file:
            lines = [file.readline() for _ in range(num + 1)]
    target.write_bytes(b"".join(lines))
    return target


def plain_loop(source: Path, options: argparse.Namespace) -> float:
    num = min(options.faces, 2000)
    return float(run(["taskset", "-c", "0", sys.executable, "-c", LOOP, str(source), str(options.views), str(num)]))


def run(command: list[str]) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    time.sleep(2)  # for the previous process to end
    finished = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return finished.stdout.decode().strip().splitlines()[-1]


if __name__ == "__main__":
    main()
