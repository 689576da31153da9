"""What `fersweep plan` says beside what `fersweep launch` then takes: three trainables, three sizes each, one after another.

    .venv/bin/python benchmarks/sweeps/plan.py --data runs/data/fer2013
    .venv/bin/python benchmarks/sweeps/plan.py --data runs/data/fer2013 --only blendshape_dense --sizes 12x12 24x20

Each pair has a home of its own, so that the plan is from a calibration; then it is planned once more from the sweep that has run.
A size is TRIALSxEPOCHS, or TRIALSxEPOCHSxFRACTION (task.fraction). `sweep` is the time from the first event to the last, `command`
that of the whole command.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from fersweep.common.processes import environment, module_command
from fersweep.results.record.timeline import cost

SIZES = {
    "blendshape_lstm": ["8x12", "12x15x0.5", "16x20"],
    "blendshape_dense": ["8x15", "16x20x0.5", "24x27"],
    "cnn": ["4x3x0.06", "6x4x0.06", "4x3x0.12"],
}
GOOD = 0.25


def run(verb: str, *arguments: str) -> tuple[str, float]:
    """stdout, and the seconds that it took."""
    start = time.monotonic()
    done = subprocess.run(
        module_command("fersweep", verb, *arguments), env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"fersweep {verb} {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout, time.monotonic() - start


def options(trainable: str, size: str, data: Path, home: str) -> list[str]:
    trials, epochs, *fraction = size.split("x")
    given = [trainable, "--data", str(data), "--home", home, "--name", f"{trainable}-{size}", "--trials", trials]
    given += ["--max-epochs", epochs]
    return [*given, "--set", f"task.fraction={fraction[0]}"] if fraction else given


def pair(trainable: str, size: str, data: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="plan-") as home:
        given = options(trainable, size, data, home)
        printed, planning_s = run("plan", *given, "--json")
        plan: dict[str, Any] = json.loads(printed)
        _, command_s = run("launch", *given)
        sweep_s = cost(Path(home) / "sweeps" / f"{trainable}-{size}" / "journal.jsonl").wall_s
        again: dict[str, Any] = json.loads(run("plan", *given, "--name", "again", "--json")[0])
    place, later = plan["estimates"][0], again["estimates"][0]
    likely = place["sweep_s"][0]
    ratios = [
        likely["likely"] / sweep_s,
        place["total_s"]["likely"] / command_s,
        later["sweep_s"][0]["likely"] / sweep_s if again["costs"]["source"] == "past sweeps" else float("nan"),
    ]
    print(
        f"{trainable:17} {size:10} {likely['likely']:7.0f} ({likely['low']:.0f}–{likely['high']:.0f}) {sweep_s:7.0f} {ratios[0]:6.2f}"
        f"   {place['total_s']['likely']:6.0f} {command_s:6.0f} {ratios[1]:6.2f}   {ratios[2]:6.2f}   {planning_s:5.0f} s"
        f"   {plan['stages'][0]['epochs']['likely']:5.0f} epochs",
        flush=True,
    )
    return abs(ratios[1] - 1) <= GOOD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=list(SIZES), help="one trainable")
    parser.add_argument("--sizes", nargs="+", help="of it, e.g. 8x12 16x20x0.5")
    asked = parser.parse_args()
    chosen = {asked.only: asked.sizes or SIZES[asked.only]} if asked.only else SIZES
    print(
        "trainable         size       sweep planned     real  ratio   command   real  ratio   from past ratio   planning"
    )
    good = [pair(trainable, size, asked.data) for trainable, sizes in chosen.items() for size in sizes]
    print(f"{sum(good)} of {len(good)} plans are within {GOOD:.0%} of the command's time")


if __name__ == "__main__":
    main()
