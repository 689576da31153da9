"""The picture of benchmarks/sweeps/at_once.py: a column a task; the best trial so far against trials and against seconds, and what
K at once lose against one at a time, by what the sampler is shown of trials that run.
"""

# pandas and matplotlib have few types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.sweeps.at_once_steps.tables import course, ends_of, interval

RANDOM = "random, asha"
SHOWN = 1, 2, 16, 64  # K of the courses


def plot(rows: pd.DataFrame, path: Path, num_trials: int, now: str, others: dict[str, str]) -> None:
    """`now`: the variant that ships; `others`: variant → its name in the picture, compared with it in the last row."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = rows[rows["num_trials"] == num_trials]
    tasks = list(dict.fromkeys(rows["task"]))
    figure, axes = plt.subplots(3, len(tasks), figsize=(5 * len(tasks), 11.5), squeeze=False)
    for column, task in enumerate(tasks):
        here = rows[rows["task"] == task]
        _courses(axes[0][column], here, now, "ended", np.arange(1, num_trials + 1))
        end = here.loc[(here["variant"] == now) & (here["at_once"] == 1), "seconds"].max()
        _courses(axes[1][column], here, now, "seconds", np.geomspace(10, end, 200))
        axes[0][column].set(title=task, xlabel="trials that have ended")
        axes[1][column].set(xscale="log", xlabel="seconds, of which an epoch of one trial takes 1")
        _losses(axes[2][column], here, {now: "as shipped", **others})
        axes[2][column].set(xscale="log", xlabel="K, trials at once")
        axes[2][column].set_xticks(ticks := sorted(set(here["at_once"]) - {1}), [str(tick) for tick in ticks])
        axes[2][column].minorticks_off()
        for line in axes:
            line[column].grid(alpha=0.3)
    for line in (0, 1):
        axes[line][0].set_ylabel("best trial so far (mean ± standard error)", fontsize=8)
    axes[2][0].set_ylabel("against K = 1, at the end, thousandths (95 % interval)", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def _courses(chart: Any, rows: pd.DataFrame, now: str, by: str, at: np.ndarray) -> None:
    """One line for each K, and random search one at a time."""
    floors: list[float] = []
    for place, (variant, at_once) in enumerate([(RANDOM, 1), *((now, at_once) for at_once in SHOWN)]):
        one = rows[(rows["variant"] == variant) & (rows["at_once"] == at_once)]
        if one["seed"].nunique() < 2:
            continue
        best = course(one, by, at)
        whole = np.isfinite(best).all(axis=0)
        mean, error = best[:, whole].mean(axis=0), best[:, whole].std(axis=0, ddof=1) / np.sqrt(len(best))
        name, style = ("random, K = 1", "--") if variant == RANDOM else (f"K = {at_once}", "-")
        chart.plot(at[whole], mean, style, color=f"C{place}", label=name, linewidth=1.6)
        chart.fill_between(at[whole], mean - error, mean + error, color=f"C{place}", alpha=0.12)
        floors.append(float(np.interp(at[len(at) // (5 if by == "ended" else 2)], at[whole], mean)))
    if floors:
        chart.set_ylim(bottom=min(floors))
        chart.legend(fontsize=7, loc="lower right")


def _losses(chart: Any, rows: pd.DataFrame, variants: dict[str, str]) -> None:
    """What K at once end with, against K = 1 of the first variant with the same seeds; random search, for which K is nothing."""
    ends = ends_of(rows)
    one = ends.loc[next(iter(variants)), 1]
    for place, (variant, name) in enumerate(variants.items()):
        found: list[tuple[float, float, float, float]] = []
        for number in sorted(set(ends.index.get_level_values("at_once"))):
            known = (variant, number) in ends.index
            difference = (1000 * (ends.loc[variant, number] - one)).dropna().to_numpy() if known else np.empty(0)
            if len(difference) > 1 and number > 1:
                low, high = interval(difference)
                found.append((number * 1.06**place, float(difference.mean()), low, high))
        at, mean, low, high = np.array(found).reshape(-1, 4).T
        bars = [mean - low, high - mean]
        chart.errorbar(at, mean, bars, fmt="o-", color=f"C{place + 1}", label=name, capsize=3, markersize=4)
    random = (1000 * (ends.loc[RANDOM, 1] - one)).mean()
    chart.axhline(random, linestyle="--", color="C0", label="random")
    chart.axhline(0, color="gray", linewidth=0.8, linestyle=":", label="K = 1")
    chart.legend(fontsize=7, loc="best")
