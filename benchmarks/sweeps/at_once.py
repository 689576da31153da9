"""What more trials at once cost a search: the best trial so far against trials, and against seconds.

    .venv/bin/python benchmarks/sweeps/at_once.py --out at_once.parquet                 # what is in it already is not run again
    .venv/bin/python benchmarks/sweeps/at_once.py --read at_once.parquet --plot docs/images/at-once.png
    .venv/bin/python benchmarks/sweeps/at_once.py --variants "tpe, asha" --num-trials 1000 --tasks surface --out at_once.parquet

fersweep's search in simulated time (at_once_steps/fused.py) on `surface`, `wide` and `table`: K trials train at
once in one worker, an epoch of k of them takes a + b·k seconds, by default so that 16 train 4.2 times as many epochs a second as
one, and 64 4.9 times. A search's best trial is the one that reported the best value; what counts is that trial's value without its
noise. "against K = 1": the mean difference from one at a time with the same seeds, in thousandths, with its 95 % bootstrap interval.
"""

# pandas and matplotlib have few types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
MODULES = "benchmarks.search_quality_steps"
os.environ["FERSWEEP_TRAINABLES"] = f"{MODULES}.surface {MODULES}.wide"

from benchmarks.search_quality_steps.tasks import Surface, Table, Task, Wide  # noqa: E402
from benchmarks.sweeps.at_once_steps.fused import Seconds, Step, Variant, simulate  # noqa: E402
from benchmarks.sweeps.at_once_steps.picture import plot  # noqa: E402
from benchmarks.sweeps.at_once_steps.tables import KEY, by_variant, speed, summary  # noqa: E402

TASKS: dict[str, type[Task]] = {"surface": Surface, "wide": Wide, "table": Table}
AS_SHIPPED, RANDOM, BEFORE = "tpe, asha", "random, asha", "running trials do not count"
VARIANTS = {
    AS_SHIPPED: Variant(),
    RANDOM: Variant("random"),
    BEFORE: Variant(options=(("consider_running_trials", False),)),
    "no liar": Variant(options=(("constant_liar", False),)),
    "judged together": Variant(together=True),
    "startup 20": Variant(options=(("n_startup_trials", 20),)),
    "startup 40": Variant(options=(("n_startup_trials", 40),)),
    "Sobol start of 10": Variant(qmc_start=10),
    "Sobol start of K": Variant(qmc_start=-1),
    "grace 1": Variant(grace=1),
    "grace 9": Variant(grace=9),
    "tpe, none": Variant(scheduler="none"),
    "random, none": Variant("random", scheduler="none"),
}
Job = tuple[str, str, int, int, int]


def run_one(job: Job, workers: int, seconds: Seconds) -> pd.DataFrame:
    """One search: a row for each number of trials that had ended, and for each better trial."""
    warnings.simplefilter("ignore")
    task, variant, num_trials, at_once, seed = job
    memory, start = Path("/dev/shm"), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        steps = simulate(TASKS[task](), VARIANTS[variant], seed, num_trials, at_once, workers, seconds, Path(scratch))
    changed = [
        step
        for step, before in zip(steps, [Step(0, 0, 0, np.nan), *steps], strict=False)
        if step.ended > before.ended or step.best != before.best
    ]
    rows = pd.DataFrame([vars(step) for step in changed])
    return rows.assign(**dict(zip(KEY, job, strict=True)), took_s=time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--variants", nargs="+", default=[AS_SHIPPED], choices=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--num-trials", nargs="+", type=int, default=[48, 200])
    parser.add_argument("--at-once", nargs="+", type=int, default=[1, 2, 16, 64], help="K")
    parser.add_argument("--workers", type=int, default=1, help="among which K is shared out")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--a", type=float, default=0.81, help="an epoch of k members takes a + b·k seconds")
    parser.add_argument("--b", type=float, default=0.19)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keep all courses as Parquet, beside those that it has")
    parser.add_argument("--read", type=Path, help="show kept courses instead of running")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--plotted", type=int, default=200, help="num_trials of the plot")
    options = parser.parse_args()
    kept = options.read or options.out
    rows = pd.read_parquet(kept) if kept and kept.exists() else pd.DataFrame(columns=KEY)
    if not options.read:
        done = set(rows[KEY].drop_duplicates().itertuples(index=False, name=None))
        asked = itertools.product(
            range(options.seeds), options.tasks, options.variants, options.num_trials, options.at_once
        )
        jobs = [job for seed, *of in asked if (job := (*of, seed)) not in done]
        seconds = Seconds(options.a, options.b)
        with ProcessPoolExecutor(options.processes) as pool:
            found = list(pool.map(run_one, jobs, itertools.repeat(options.workers), itertools.repeat(seconds)))
        rows = pd.concat([rows, *found] if len(rows) else found)
        if options.out:
            rows.to_parquet(options.out)
    print(f"{AS_SHIPPED}: from K = 1, same trials\n\n{summary(rows, AS_SHIPPED, 'ended')}")
    print(f"from K = 1, same seconds\n\n{summary(rows, AS_SHIPPED, 'seconds')}")
    print(f"times as fast as K = 1, epochs of K = 1's\n\n{speed(rows, AS_SHIPPED)}")
    for (task, num_trials), mine in rows.groupby(["task", "num_trials"], sort=False):
        print(f"{task}, {num_trials} trials\n\n{by_variant(mine, AS_SHIPPED)}")
    if options.plot:
        plot(rows, options.plot, options.plotted, AS_SHIPPED, {BEFORE: BEFORE})


if __name__ == "__main__":
    main()
