"""What more trials at once cost a search: the best trial so far against trials, and against seconds.

    .venv/bin/python benchmarks/sweeps/at_once.py --out at_once.parquet                 # what is in it already is not run again
    .venv/bin/python benchmarks/sweeps/at_once.py --read at_once.parquet --plot docs/images/at-once.png
    .venv/bin/python benchmarks/sweeps/at_once.py --variants "tpe, asha" --num-trials 1000 --tasks surface --out at_once.parquet

fersweep's search in simulated time (benchmarks/search_quality_steps/fused.py) on `surface`, `wide` and `table`: K trials train at
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

from benchmarks.search_quality_steps.fused import Seconds, Step, Variant, simulate  # noqa: E402
from benchmarks.search_quality_steps.tasks import Surface, Table, Task, Wide  # noqa: E402

TASKS: dict[str, type[Task]] = {"surface": Surface, "wide": Wide, "table": Table}
AS_SHIPPED, RANDOM = "tpe, asha", "random, asha"
RUNNING = ("consider_running_trials", True)
VARIANTS = {
    AS_SHIPPED: Variant(),
    RANDOM: Variant("random"),
    "running count": Variant(options=(RUNNING,)),
    "no liar": Variant(options=(("constant_liar", False),)),
    "running count, no liar": Variant(options=(RUNNING, ("constant_liar", False))),
    "judged together": Variant(together=True),
    "running count, judged together": Variant(options=(RUNNING,), together=True),
    "startup 5": Variant(options=(("n_startup_trials", 5),)),
    "startup 20": Variant(options=(("n_startup_trials", 20),)),
    "startup 40": Variant(options=(("n_startup_trials", 40),)),
    "qmc start 10": Variant(qmc_start=10),
    "qmc start K": Variant(qmc_start=-1),
    "grace 1": Variant(grace=1),
    "grace 9": Variant(grace=9),
    "tpe, none": Variant(scheduler="none"),
    "random, none": Variant("random", scheduler="none"),
    "cmaes, asha": Variant("cmaes"),
}
KEY = ["task", "variant", "num_trials", "at_once", "seed"]
Job = tuple[str, str, int, int, int]


def run_one(job: Job, workers: int, seconds: Seconds) -> pd.DataFrame:
    """One search: a row for each number of trials that had ended, and for each better trial."""
    warnings.simplefilter("ignore")
    task, variant, num_trials, at_once, seed = job
    memory, start = Path("/dev/shm"), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        steps = simulate(
            TASKS[task](), VARIANTS[variant], seed, num_trials, at_once, workers, seconds, Path(scratch)
        )
    changed = [
        step
        for step, before in zip(steps, [Step(0, 0, 0, np.nan), *steps], strict=False)
        if step.ended > before.ended or step.best != before.best
    ]
    rows = pd.DataFrame([vars(step) for step in changed])
    return rows.assign(**dict(zip(KEY, job, strict=True)), took_s=time.perf_counter() - start)


def at_end(rows: pd.DataFrame, column: str = "best") -> pd.Series:
    """By task, variant, num_trials, at_once, seed."""
    return rows.groupby(KEY)[column].last()


def course(rows: pd.DataFrame, by: str, at: np.ndarray) -> np.ndarray:
    """(seeds, points): the best so far of each seed at `by` = at; NaN before the first."""
    found: list[np.ndarray] = []
    for _, one in rows.groupby("seed"):
        x, best = one[by].to_numpy(), np.concatenate([[np.nan], one["best"].to_numpy()])
        found.append(best[np.searchsorted(x, at, side="right")])
    return np.array(found)


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    draws = np.random.default_rng(0).integers(len(values), size=(4000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def cell(difference: pd.Series) -> str:
    """Thousandths, with the interval; in italics where it holds zero."""
    values = 1000 * difference.dropna().to_numpy()
    if len(values) < 2:
        return ""
    low, high = interval(values)
    text = f"{values.mean():+.1f} [{low:+.1f}, {high:+.1f}]"
    return text if low > 0 or high < 0 else f"*{text}*"


def by_number(rows: pd.DataFrame, task: str, num_trials: int, variant: str) -> str:
    """Markdown: a row for each K."""
    here = rows[(rows["task"] == task) & (rows["num_trials"] == num_trials) & (rows["variant"] == variant)]
    if here.empty or 1 not in set(here["at_once"]):
        return ""
    best, seconds, epochs = (at_end(here, column).unstack("seed") for column in ("best", "seconds", "epochs"))
    best, seconds, epochs = (each.droplevel(["task", "variant", "num_trials"]) for each in (best, seconds, epochs))
    one = here[here["at_once"] == 1]
    lines = [
        "| K | best | against K = 1, same trials | epochs, of K = 1's | seconds: K = 1's / these | against K = 1, same seconds |",
        "|---" * 6 + "|",
    ]
    for at_once in best.index:
        then = pd.Series(
            {
                seed: course(one[one["seed"] == seed], "seconds", np.array([seconds.loc[at_once, seed]]))[0, 0]
                for seed in best.columns
                if np.isfinite(best.loc[at_once, seed]) and np.isfinite(best.loc[1, seed])
            }
        )
        versus = ["", "", "", ""]
        if at_once > 1:
            both = seconds.loc[[1, at_once]].dropna(axis=1).columns
            versus = [
                cell(best.loc[at_once] - best.loc[1]),
                f"{epochs.loc[at_once, both].sum() / epochs.loc[1, both].sum():.2f}",
                f"{seconds.loc[1, both].sum() / seconds.loc[at_once, both].sum():.1f}",
                cell(best.loc[at_once] - then),
            ]
        lines.append(f"| {at_once} | {best.loc[at_once].mean():.4f} | " + " | ".join(versus) + " |")
    return f"{task}, {num_trials} trials, {variant}, {best.shape[1]} seeds\n\n" + "\n".join(lines) + "\n"


def by_variant(rows: pd.DataFrame, task: str, num_trials: int) -> str:
    """Markdown: variants down, K across: the difference from what ships with the same K, and of the first row from K = 1."""
    here = rows[(rows["task"] == task) & (rows["num_trials"] == num_trials)]
    ends = at_end(here)
    numbers = sorted(set(here["at_once"]))
    lines = ["| variant | " + " | ".join(f"K = {number}" for number in numbers) + " |", "|---" * (len(numbers) + 1) + "|"]
    for variant in VARIANTS:
        cells: list[str] = []
        for number in numbers:
            other = (AS_SHIPPED, 1) if variant == AS_SHIPPED else (AS_SHIPPED, number)
            try:
                cells.append(
                    cell(ends.loc[task, variant, num_trials, number] - ends.loc[task, other[0], num_trials, other[1]])
                )
            except KeyError:
                cells.append("")
        if any(cells):
            lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return f"{task}, {num_trials} trials\n\n" + "\n".join(lines) + "\n"


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
    options = parser.parse_args()
    kept = options.read or options.out
    rows = pd.read_parquet(kept) if kept and kept.exists() else pd.DataFrame(columns=KEY)
    if not options.read:
        done = set(rows[KEY].drop_duplicates().itertuples(index=False, name=None))
        asked = itertools.product(range(options.seeds), options.tasks, options.variants, options.num_trials, options.at_once)
        jobs = [job for seed, *of in asked if (job := (*of, seed)) not in done]
        seconds = Seconds(options.a, options.b)
        with ProcessPoolExecutor(options.processes) as pool:
            found = list(
                pool.map(run_one, jobs, itertools.repeat(options.workers), itertools.repeat(seconds))
            )
        rows = pd.concat([rows, *found] if len(rows) else found)
        if options.out:
            rows.to_parquet(options.out)
    for task, num_trials in itertools.product(TASKS, sorted(set(rows["num_trials"]))):
        for variant in VARIANTS:
            print(by_number(rows, task, num_trials, variant))
        print(by_variant(rows, task, num_trials))
    if options.plot:
        from benchmarks.search_quality_steps.at_once_picture import plot

        plot(rows, options.plot)


if __name__ == "__main__":
    main()
