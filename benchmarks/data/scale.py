"""Memory of `prepare` for millions of rows, beside pandas reading the same file.

    .venv/bin/python benchmarks/data/scale.py --rows 2000000 --kind blendshapes --plot docs/images/memory.png
    .venv/bin/python benchmarks/data/scale.py --rows 2000000 --kind pixels

Makes a synthetic source: a CSV of 52 scores a row (`blendshapes`, no Ray), or FER2013's CSV with faces of 16 × 16 pixels
(`pixels`, --pixels-only, through Ray Data on two workers). Twice a second the resident memory of the process and of all
its children is summed; shared pages (Ray's object store) count once. Printed: faces/s, memory after a tenth and after all of
the rows, the peak, bytes per row on disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

PREPARE = """
import json, sys, time
from pathlib import Path
from fersweep.data_pipeline.prepare.options import Options
from fersweep.data_pipeline.prepare.preparation import prepare
kind, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
def report(progress):
    print(json.dumps([progress.phase, progress.done]), flush=True)
prepare([source], out, Options(pixels_only=kind == "pixels"), workers=2, progress=report)
"""
PANDAS = "import sys, pandas; frame = pandas.read_csv(sys.argv[1]); print(len(frame), flush=True)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--kind", choices=("blendshapes", "pixels"), default="blendshapes")
    parser.add_argument(
        "--scratch", type=Path, help="a directory for the source and the dataset, which are deleted at the end"
    )
    parser.add_argument("--plot", type=Path, help="draw the curve to this PNG")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        source, out = Path(scratch) / "faces.csv", Path(scratch) / "dataset"
        make_source(source, options.rows, options.kind)
        print(f"{options.rows:,} rows of {options.kind}, {source.stat().st_size / 1e6:,.0f} MB of CSV", flush=True)
        curve, seconds = watched([sys.executable, "-c", PREPARE, options.kind, str(source), str(out)])
        extract = [(done, num_bytes) for _, phase, done, num_bytes in curve if phase == "extract"]
        tenth = next(num_bytes for done, num_bytes in extract if done >= options.rows / 10)
        disk = sum(path.stat().st_size for path in (out / "faces").iterdir()) / options.rows
        print(
            f"prepare: {options.rows / seconds:,.0f} faces/s in all; memory {tenth / 1e6:,.0f} MB after a tenth, "
            f"{extract[-1][1] / 1e6:,.0f} MB after all, peak {max(point[3] for point in curve) / 1e6:,.0f} MB; "
            f"{disk:,.0f} bytes a row on disk"
        )
        plain, plain_s = watched([sys.executable, "-c", PANDAS, str(source)])
        print(f"pandas.read_csv: peak {max(point[3] for point in plain) / 1e6:,.0f} MB, {plain_s:.0f} s")
        if options.plot:
            draw(curve, plain, options)


def make_source(path: Path, num_rows: int, kind: str) -> None:
    """Random rows, all different."""
    from fersweep.data_pipeline.vocabulary import BLENDSHAPES

    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write(",".join([*BLENDSHAPES, "label"]) + "\n" if kind == "blendshapes" else "emotion,pixels,Usage\n")
        for start in range(0, num_rows, 10_000):
            num = min(10_000, num_rows - start)
            if kind == "blendshapes":
                text = np.char.mod("%.4f", rng.beta(0.5, 3.0, (num, 52)))
                names = np.array(["happy", "sad", "neutral"])[rng.integers(0, 3, num)]
                file.writelines(f"{','.join(row)},{name}\n" for row, name in zip(text, names, strict=True))
            else:
                pixels = rng.integers(0, 256, (num, 256)).astype(str)
                usage = np.array(["Training"] * 8 + ["PublicTest", "PrivateTest"])[rng.integers(0, 10, num)]
                rows = zip(rng.integers(0, 7, num), pixels, usage, strict=True)
                file.writelines(f"{label},{' '.join(face)},{name}\n" for label, face, name in rows)


def watched(command: list[str]) -> tuple[list[tuple[float, str, int, int]], float]:
    """(seconds, phase, faces done, bytes) twice a second while `command` runs, and how long it took."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    latest: list[list] = [["", 0]]
    curve: list[tuple[float, str, int, int]] = []

    def watch() -> None:
        while process.poll() is None:
            num_bytes = memory(process.pid)
            curve.append((time.monotonic() - began, *latest[-1], num_bytes))
            time.sleep(0.5)

    thread = threading.Thread(target=watch)
    thread.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("["):
            latest[-1] = json.loads(line)
    if process.wait() != 0:
        raise SystemExit(f"{command[:2]} ended with {process.returncode}")
    seconds = time.monotonic() - began
    thread.join()
    return curve, seconds


def memory(pid: int) -> int:
    """Bytes of a process and its children: proportional set size, in which shared pages count once."""
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def draw(curve: list, plain: list, options: argparse.Namespace) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for points, name in ((curve, "fersweep prepare"), (plain, "pandas.read_csv")):
        axes.plot([point[0] for point in points], [point[3] / 1e6 for point in points], label=name)
    axes.set(xlabel="seconds", ylabel="resident memory, MB", ylim=(0, None))
    axes.set_title(f"{options.rows:,} rows of {options.kind}")
    axes.legend()
    figure.savefig(options.plot, dpi=110)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
