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


def by_number(rows: pd.DataFrame, variant: str) -> str:
    """Of one task and budget: a row for each K."""
    mine = rows[rows["variant"] == variant]
    best, seconds, epochs = (ends_of(mine, column).droplevel("variant") for column in ("best", "seconds", "epochs"))
    if 1 not in best.index:
        return ""
    one = dict(iter(mine[mine["at_once"] == 1].groupby("seed")))
    lines = [
        "| K | best | against K = 1, same trials | epochs, of K = 1's | times as fast | against K = 1, same seconds |",
        "|---" * 6 + "|",
        f"| 1 | {best.loc[1].mean():.4f} | | | | |",
    ]
    for at_once in best.index.drop(1):
        both = best.loc[[1, at_once]].dropna(axis=1).columns
        then = {seed: course(one[seed], "seconds", seconds.loc[[at_once], seed].to_numpy())[0, 0] for seed in both}
        cells = [
            f"{best.loc[at_once].mean():.4f}",
            cell(best.loc[at_once] - best.loc[1]),
            f"{epochs.loc[at_once, both].sum() / epochs.loc[1, both].sum():.2f}",
            f"{seconds.loc[1, both].sum() / seconds.loc[at_once, both].sum():.1f}",
            cell(best.loc[at_once] - pd.Series(then)),
        ]
        lines.append(f"| {at_once} | " + " | ".join(cells) + " |")
    return "\n".join([f"{variant}, {best.shape[1]} seeds", "", *lines, ""])


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
