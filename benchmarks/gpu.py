"""What only a GPU can say, in at most nine minutes. Results are written as they come, so that a cut run keeps what it had.

    .venv/bin/python benchmarks/gpu.py --data runs/data/fer2013               # all steps, results in ./gpu_results
    .venv/bin/python benchmarks/gpu.py --data runs/data/fer2013 --steps speed resume
    .venv/bin/python benchmarks/gpu.py --tiny                                 # every step in small, on made-up faces; on a CPU, too
    python3 benchmarks/gpu.py --kit build/gpu_kit                             # a bare machine: see gpu_kit.sh

    speed        images a second of training: a net of four convolutions, EfficientNet-Lite0 and the residual net of the recipe
                 `fer_sota`; bf16, fp32, compiled, larger batches; beside the net alone (the upper limit) and torch's DataLoader
    resume       save, load and fit against fit without a break: the same numbers?
    batch        what `batch_size: auto` chooses with a whole GPU and with a quarter of one
    share        two trials at `gpus: 0.5`, one of which asks for too much: is the other one disturbed?
    sweep        `fersweep launch cnn` with four trials that share the GPU, and with the same trials one after another
    blendshapes  epochs a second of the nets of blendshapes: ours, where TensorFlow is installed, and torch's LSTM
    fused        models a second, K = 1 to 256 of them at once: populations of nets of blendshapes, and nets of grouped convolutions
    fer_sota     one point of `fer_sota`: as many epochs as fit into three minutes, accuracy on val (PublicTest) after each

Each step runs in a process of its own and is killed when its time is over. `gpu.json` has every row, `gpu.md` the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STEPS = {
    "speed": 140,
    "resume": 25,
    "batch": 25,
    "share": 35,
    "sweep": 70,
    "blendshapes": 25,
    "fused": 60,
    "fer_sota": 180,
}
"""Step → seconds that it may take."""
MINUTES = 9.0
UNPACKED = Path("/tmp/fersweep_gpu_kit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a dataset of FER2013 (default: the one of the kit)")
    parser.add_argument("--out", type=Path, default=Path("gpu_results"), help="directory of gpu.json and gpu.md")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"of all steps together (default: {MINUTES:g})")
    parser.add_argument("--kit", type=Path, help="directory with the packs of gpu_kit.sh")
    parser.add_argument("--tiny", action="store_true", help="every step in small")
    options = parser.parse_args()
    slower = 6 if options.tiny else 1  # a CPU
    begun = time.monotonic()
    environment = {**os.environ, "FERSWEEP_REPORT": "0", "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks/models"), *_unpacked(options.kit)])
    command = [sys.executable, str(ROOT / "benchmarks/gpu_steps/run.py"), "--work", str(options.out.resolve() / "work")]
    command += ["--data", str(options.data.resolve())] if options.data else []
    command += ["--faces", str(UNPACKED / "faces")] if options.kit else []
    command += ["--tiny"] if options.tiny else []
    results: dict[str, Any] = {"machine": {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}}
    for step in ("machine", *options.steps):
        left_s = slower * options.minutes * 60 - (time.monotonic() - begun)
        results[step] = results.get(step, {}) if step == "machine" else {"rows": [], "note": ""}
        if left_s < 5:
            results[step]["note"] = "not run: the time was over"
            continue
        limit_s = min(slower * STEPS.get(step, 60), left_s)
        for row in _rows([*command, "--seconds", f"{limit_s:.0f}", step], environment, limit_s):
            if step == "machine" and "note" not in row:
                results[step] |= row
            elif "note" in row:
                results[step]["note"] = row["note"]
            else:
                results[step]["rows"].append(row)
            print(f"{step}: {json.dumps(row)}", flush=True)
            _write(options.out, results)
    _write(options.out, results)
    print(f"{time.monotonic() - begun:.0f} s; {options.out / 'gpu.md'}")


def _rows(command: list[str], environment: dict[str, str], limit_s: float) -> Iterator[dict[str, Any]]:
    """The rows that a step prints, and a note when it fails or its time is over."""
    begun = time.monotonic()
    timed = ["timeout", "--kill-after=5", f"{limit_s:.0f}", *command]
    with subprocess.Popen(timed, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
        errors = process.stderr.read().strip().splitlines()
    seconds = time.monotonic() - begun
    if process.returncode in (124, 137, -9):
        yield {"note": f"cut after {seconds:.0f} s"}
    elif process.returncode:
        yield {"note": f"failed after {seconds:.0f} s: {errors[-1] if errors else f'exit code {process.returncode}'}"}
    else:
        yield {"note": f"{seconds:.0f} s"}


def _unpacked(kit: Path | None) -> list[str]:
    """Unpack the packs in `kit` that are not yet unpacked; the folders to import from."""
    if kit is None:
        return []
    for pack in sorted(kit.glob("*.tar*")):
        done = UNPACKED / f".{pack.name}"
        if not done.exists():
            with tarfile.open(pack) as archive:
                archive.extraction_filter = getattr(tarfile, "data_filter", None)  # older Pythons have none
                archive.extractall(UNPACKED)
            done.touch()
    return [str(UNPACKED / "site")]


def _write(out: Path, results: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("gpu.json", json.dumps(results, indent=1)), ("gpu.md", _markdown(results))):
        new = out / f".{name}"
        new.write_text(text + "\n")
        new.replace(out / name)


def _markdown(results: dict[str, Any]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items() if name != "note")
    parts = [f"Machine: {machine}."]
    for step, content in results.items():
        if step == "machine":
            continue
        parts.append(f"## {step}\n{content['note']}".rstrip())
        if rows := content["rows"]:
            names = list(dict.fromkeys(name for row in rows for name in row))
            cells = [names, ["---"] * len(names), *([_cell(row.get(name)) for name in names] for row in rows)]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in cells))
    return "\n\n".join(parts)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
