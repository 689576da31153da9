"""The tables of benchmarks/sweeps/at_once.py, as Markdown: what K at once cost, and what each variant of the search changes.

rows: one for each number of trials that had ended: KEY, and the fields of fused.Step.
"""

# pandas has few types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np
import pandas as pd

KEY = ["task", "variant", "num_trials", "at_once", "seed"]


def ends_of(rows: pd.DataFrame, column: str = "best") -> pd.DataFrame:
    """What searches of one task and budget ended with: (variant, at_once) down, seeds across."""
    return rows.pivot_table(index=["variant", "at_once"], columns="seed", values=column, aggfunc="last")


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


def summary(rows: pd.DataFrame, variant: str, clock: str) -> str:
    """A row a task and budget, K across: the difference from K = 1 of the same seeds when the search of K at once has ended; `ended`:
    from K = 1 when it has ended, too, `seconds`: from K = 1 at that second.
    """
    rows = rows[rows["variant"] == variant]
    numbers = sorted(set(rows["at_once"]) - {1})
    lines = ["| task, trials | seeds | " + " | ".join(f"K = {number}" for number in numbers) + " |"]
    lines.append("|---" * (len(numbers) + 2) + "|")
    for (task, num_trials), mine in rows.groupby(["task", "num_trials"], sort=False):
        best = ends_of(mine).droplevel("variant")
        if 1 not in best.index or len(best) == 1:
            continue
        cells = [cell(_from_one(mine, best, number, clock)) if number in best.index else "" for number in numbers]
        seeds = best.drop(1).notna().sum(axis=1)
        num_seeds = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()}–{seeds.max()}"
        lines.append(f"| {task}, {num_trials} | {num_seeds} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _from_one(rows: pd.DataFrame, best: pd.DataFrame, number: int, clock: str) -> pd.Series:
    """rows: of one task, budget and variant. By seed."""
    both = best.loc[[1, number]].dropna(axis=1)
    if clock == "ended":
        return both.loc[number] - both.loc[1]
    seconds = ends_of(rows, "seconds").droplevel("variant").loc[number]
    one = dict(iter(rows[rows["at_once"] == 1].groupby("seed")))
    then = {seed: course(one[seed], "seconds", np.array([seconds[seed]]))[0, 0] for seed in both.columns}
    return both.loc[number] - pd.Series(then)


def speed(rows: pd.DataFrame, variant: str) -> str:
    """A row a task and budget, K across: how many times as fast the search is over as with K = 1, and its epochs over K = 1's."""
    rows = rows[rows["variant"] == variant]
    numbers = sorted(set(rows["at_once"]) - {1})
    lines = [
        "| task, trials | " + " | ".join(f"K = {number}" for number in numbers) + " |",
        "|---" * (len(numbers) + 1) + "|",
    ]
    for (task, num_trials), mine in rows.groupby(["task", "num_trials"], sort=False):
        seconds, epochs = (ends_of(mine, column).droplevel("variant") for column in ("seconds", "epochs"))
        if 1 not in seconds.index or len(seconds) == 1:
            continue
        cells: list[str] = []
        for number in numbers:
            if number not in seconds.index:
                cells.append("")
                continue
            (one, these), (of_one, of_these) = (
                each.loc[[1, number]].dropna(axis=1).sum(axis=1) for each in (seconds, epochs)
            )
            cells.append(f"{one / these:.1f}, {of_these / of_one:.2f}")
        lines.append(f"| {task}, {num_trials} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def by_variant(rows: pd.DataFrame, first: str) -> str:
    """Of one task and budget: variants down, K across. The difference from `first` with the same K; its own from K = 1."""
    ends, numbers = ends_of(rows), sorted(set(rows["at_once"]))
    lines = [
        "| variant | " + " | ".join(f"K = {number}" for number in numbers) + " |",
        "|---" * (len(numbers) + 1) + "|",
    ]
    for variant in dict.fromkeys([first, *rows["variant"]]):
        cells: list[str] = []
        for number in numbers:
            pair = (variant, number), (first, 1 if variant == first else number)
            known = all(each in ends.index for each in pair) and pair[0] != pair[1]
            cells.append(cell(ends.loc[pair[0]] - ends.loc[pair[1]]) if known else "")
        if any(cells):
            lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])
