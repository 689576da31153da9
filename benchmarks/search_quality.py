"""How good each search is: the best trial so far against epochs and trials, over many seeds, beside plain Optuna, Ray Tune
and random.

    .venv/bin/python benchmarks/search_quality.py --seeds 20 --out results.parquet      # surface and table; gp takes hours
    .venv/bin/python benchmarks/search_quality.py --tasks live --data runs/data/fer2013 --seeds 20 --out live.parquet
    .venv/bin/python benchmarks/search_quality.py --read results.parquet live.parquet --plot docs/images/search-quality.png

Every search gets the same budget of epochs, four trials at a time in simulated time, and the same seeds. A search's best
trial is the one that reported the best value; what is shown is that trial's value without its noise, where that is known.
Brackets: 95 % bootstrap intervals over seeds. "against random": the mean difference from random search of the same seeds.
"""

# pandas and matplotlib have few types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["FERSWEEP_TRAINABLES"] = "benchmarks.search_quality_steps.surface"

import optuna  # noqa: E402

from benchmarks.search_quality_steps import searches  # noqa: E402
from benchmarks.search_quality_steps.live import Live  # noqa: E402
from benchmarks.search_quality_steps.simulate import simulate  # noqa: E402
from benchmarks.search_quality_steps.tasks import Surface, Table, Task  # noqa: E402

BUDGETS = {"surface": 1000, "table": 1000, "live": 150}  # epochs in all
SHARES = (0.25, 0.5, 1.0)
SAMPLERS = ("random", "tpe", "gp", "cmaes", "qmc", "nsga2")
SCHEDULERS = ("none", "asha", "hyperband", "median", "percentile", "patient")
RANDOM = "random, none"
Make = Callable[[Task, int, Path], searches.Searching]


def makers() -> dict[str, Make]:
    """The searches by name: each sampler with each scheduler, and other tools."""
    found: dict[str, Make] = {
        f"{sampler}, {scheduler}": _fersweep(sampler, scheduler) for sampler in SAMPLERS for scheduler in SCHEDULERS
    }
    halving = optuna.pruners.SuccessiveHalvingPruner(min_resource=searches.GRACE, reduction_factor=searches.REDUCTION)
    found["Optuna, median pruner"] = lambda task, seed, _: searches.PlainOptuna(
        task, seed, optuna.pruners.MedianPruner()
    )
    found["Optuna, successive halving"] = lambda task, seed, _: searches.PlainOptuna(task, seed, halving)
    found["Ray Tune, OptunaSearch + ASHA"] = lambda task, seed, _: searches.RayTune(task, seed)
    return found


def _fersweep(sampler: str, scheduler: str) -> Make:
    return lambda task, seed, scratch: searches.Fersweep(task, seed, scratch, sampler, scheduler)


def make_task(name: str, data: str | None) -> Task:
    if name == "live":
        if data is None:
            raise SystemExit("--tasks live: want --data, a dataset with pixels")
        return Live(Path(data))
    return Surface() if name == "surface" else Table()


def run_one(task_name: str, search_name: str, seed: int, data: str | None) -> pd.DataFrame:
    """One search with one seed: a row for each epoch of its budget, thinned to a hundred."""
    warnings.simplefilter("ignore")
    task, budget = make_task(task_name, data), BUDGETS[task_name]
    memory = Path("/dev/shm")  # a flush to disk after each event is no part of what is measured
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        start = time.perf_counter()
        course = simulate(makers()[search_name](task, seed, Path(scratch)), task, seed, budget)
        took = time.perf_counter() - start
    at = np.unique(np.linspace(1, budget, 100).astype(int))
    return pd.DataFrame(
        {
            "task": task_name,
            "search": search_name,
            "seed": seed,
            "epochs": at,
            "trials": [course.trials[epoch - 1] for epoch in at],
            "best": [course.best[epoch - 1] for epoch in at],
            "took_s": took,
        }
    )


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    draws = np.random.default_rng(0).integers(len(values), size=(4000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def against_random(ends: pd.DataFrame, search: str) -> tuple[float, float, float]:
    """ends: best by seed and search → mean difference from random search of the same seeds, and its interval."""
    difference = (ends[search] - ends[RANDOM]).to_numpy()
    return float(difference.mean()), *interval(difference)


def matrix(rows: pd.DataFrame, task: str) -> str:
    """Markdown: samplers down, schedulers across; the mean difference from random search at the end, in thousandths, with
    half of its interval's width; in italics where the interval holds zero.
    """
    here = rows[(rows["task"] == task) & (rows["epochs"] == rows.loc[rows["task"] == task, "epochs"].max())]
    ends = here.pivot_table(index="seed", columns="search", values="best")
    lines = ["| sampler | " + " | ".join(SCHEDULERS) + " |", "|---" * (len(SCHEDULERS) + 1) + "|"]
    for sampler in SAMPLERS:
        cells: list[str] = []
        for scheduler in SCHEDULERS:
            search = f"{sampler}, {scheduler}"
            if search == RANDOM or search not in ends:
                cells.append("0" if search == RANDOM else "")
                continue
            mean, low, high = (1000 * figure for figure in against_random(ends, search))
            cell = f"{mean:+.1f} ± {(high - low) / 2:.1f}"
            cells.append(cell if low > 0 or high < 0 else f"*{cell}*")
        if any(cells):
            lines.append(f"| {sampler} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table(rows: pd.DataFrame, task: str) -> str:
    """Markdown: a row a search."""
    here = rows[rows["task"] == task]
    budget, lines = int(here["epochs"].max()), list[str]()
    at = [int(here["epochs"].iloc[(here["epochs"] - share * budget).abs().argmin()]) for share in SHARES]
    wide = here.pivot_table(index="seed", columns=["search", "epochs"], values="best")
    trials = here[here["epochs"] == budget].groupby("search")["trials"].mean()
    lines.append(
        "| search | "
        + " | ".join(f"after {epochs} epochs" for epochs in at)
        + " | trials | against random, at the end |"
    )
    lines.append("|---" * (len(at) + 3) + "|")
    ends = wide.xs(budget, axis=1, level="epochs")
    for search in ends.mean().sort_values(ascending=False).index:
        cells = [f"{wide[search][epochs].mean():.4f}" for epochs in at]
        mean, low, high = against_random(ends, search)
        verdict = "" if search == RANDOM else f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        if search != RANDOM and low <= 0:
            verdict += ": worse than random" if high < 0 else ": no better than random"
        lines.append(f"| {search} | " + " | ".join(cells) + f" | {trials[search]:.0f} | {verdict} |")
    return "\n".join(lines)


def plot(rows: pd.DataFrame, path: Path, against: str) -> None:
    """A row of charts a task: samplers under ASHA, schedulers under TPE, and the others. against: epochs | trials."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = {
        "samplers, with ASHA": [RANDOM, *(f"{sampler}, asha" for sampler in SAMPLERS)],
        "schedulers, with TPE": [RANDOM, *(f"tpe, {scheduler}" for scheduler in SCHEDULERS)],
        "beside other tools": [RANDOM, "tpe, asha", *(name for name in makers() if name[0].isupper())],
    }
    tasks = list(rows["task"].unique())
    figure, axes = plt.subplots(len(tasks), 3, figsize=(15, 4 * len(tasks)), squeeze=False)
    for line, task in enumerate(tasks):
        here = rows[rows["task"] == task]
        lows = []
        for column, (title, names) in enumerate(groups.items()):
            chart = axes[line][column]
            for name in names:
                by_epoch = here[here["search"] == name].groupby("epochs")
                if not len(by_epoch):
                    continue
                each, x = by_epoch["best"], by_epoch[against].mean()
                mean, error = each.mean(), each.std() / np.sqrt(each.count())
                style = "--" if name == RANDOM else "-"
                chart.plot(x, mean, style, label=name, linewidth=1.6)
                chart.fill_between(x, mean - error, mean + error, alpha=0.12)
                lows.append(float(mean.iloc[min(8, len(mean) - 1)]))
            chart.set_title(f"{task}: {title}", fontsize=10)
            chart.set_xlabel("epochs trained, all trials together" if against == "epochs" else "trials begun")
            chart.legend(fontsize=7, loc="lower right")
        for chart in axes[line]:
            chart.set_ylim(bottom=min(lows))
        axes[line][0].set_ylabel("best trial so far (mean ± standard error)", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["surface", "table"], choices=list(BUDGETS))
    parser.add_argument("--searches", nargs="+", help="default: all")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data", help="dataset of the task `live`")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="keep all courses as Parquet")
    parser.add_argument("--read", nargs="+", type=Path, help="show kept courses instead of running")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--against", choices=["epochs", "trials"], default="epochs", help="of the plot")
    options = parser.parse_args()
    if options.read:
        rows = pd.concat([pd.read_parquet(path) for path in options.read])
    else:
        names = options.searches or list(makers())
        jobs = [
            (task, name, seed, options.data)
            for task in options.tasks
            for name in names
            for seed in range(options.seeds)
        ]
        with ProcessPoolExecutor(options.processes) as pool:
            courses = list(pool.map(run_one, *zip(*jobs, strict=True)))
        rows = pd.concat(courses)
        if options.out:
            rows.to_parquet(options.out)
    for task in rows["task"].unique():
        print(
            f"\n{task}, {rows[rows['task'] == task]['seed'].nunique()} seeds\n\n{matrix(rows, task)}\n\n{table(rows, task)}"
        )
    if options.plot:
        plot(rows, options.plot, options.against)


if __name__ == "__main__":
    main()
