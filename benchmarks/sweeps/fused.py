"""Recipes as shipped, with trials that train together and with trials that train alone: wall time, epochs a second, the best trial.

    .venv/bin/python benchmarks/sweeps/fused.py --data runs/data/fer2013 --recipes blendshape_lstm seven_landmarks

`launch RECIPE` and then `evaluate`, as a user gives them; one after the other, the whole command from its start to its end, without
what comes after it in the background (pictures in MLflow, the report). The
test split is judged once each, as `evaluate` does; a dataset without one has no test figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WAYS = {"together": "auto", "alone": "1"}


def fersweep(*arguments: str, home: Path) -> str:
    command = [sys.executable, "-m", "fersweep", *arguments, "--home", str(home)]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def run(recipe: str, fuse: str, data: Path, home: Path, more: list[str]) -> dict[str, Any]:
    start = time.perf_counter()
    fersweep("launch", recipe, "--data", str(data), "--set", f"resources.fuse={fuse}", *more, home=home)
    seconds = time.perf_counter() - start
    sys.path.insert(0, str(ROOT))
    from benchmarks.sweeps.arithmetic import await_rest
    from fersweep.results.record.journal import read

    await_rest(home / "sweeps" / recipe)
    record = read(home / "sweeps" / recipe / "journal.jsonl")
    trials = json.loads(fersweep("compare", recipe, "--json", home=home))["trials"]
    row = {"recipe": recipe, "trials": len(record.trials), "epochs": record.num_epochs, "seconds": seconds}
    return row | {"best val": trials[0]["value"], "test": tested(recipe, home)}


def tested(recipe: str, home: Path) -> str:
    try:
        answer = json.loads(fersweep("evaluate", recipe, "--split", "test", "--json", home=home))
    except subprocess.CalledProcessError:
        return "no test split"
    score = answer["detected"]["macro_f1"]
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", default=["blendshape_lstm", "seven_landmarks"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--set", action="append", default=[], help="as of `launch`, for all")
    options = parser.parse_args()
    more = [part for key in options.set for part in ("--set", key)]
    rows: list[dict[str, Any]] = []
    for recipe in options.recipes:
        for way in options.ways:
            with tempfile.TemporaryDirectory() as home:
                rows.append({"trials train": way} | run(recipe, WAYS[way], options.data.resolve(), Path(home), more))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(
        "| recipe | trials train | trials | epochs | seconds | epochs a second | best val | test macro-F1 |\n|---|---|---|---|---|---|---|---|"
    )
    for row in rows:
        print(
            f"| {row['recipe']} | {row['trials train']} | {row['trials']} | {row['epochs']} | {row['seconds']:.0f} | "
            f"{row['epochs'] / row['seconds']:.1f} | {row['best val']:.3f} | {row['test']} |"
        )


if __name__ == "__main__":
    main()
