"""The files that a trial leaves beside its metrics in MLflow: hparams, history, pictures, per-class report.

Pictures are drawn with matplotlib's objects on the Agg canvas, small and without pyplot's state: a trial's files
cost about a tenth of a second of CPU.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from results import scoring
from results.journal import TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 90


def write_history(trial: TrialRecord, metric: str, mode: str, directory: Path) -> None:
    """`hparams.json`, `history.csv` (one row an epoch) and `learning_curve.png` of any trial into `directory`."""
    (directory / "hparams.json").write_text(json.dumps(trial.hparams, indent=1))
    if not trial.epochs:
        return
    names = list(dict.fromkeys(name for row in trial.epochs for name in row))
    with (directory / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(trial.epochs)
    draw_learning_curve(trial, metric, mode).savefig(directory / "learning_curve.png")


def write_val_report(y: np.ndarray, probabilities: np.ndarray, classes: list[str], directory: Path) -> None:
    """`val_report.json`, `val_report.txt` and `val_confusion.png` of y (N,) and probabilities (N, C)."""
    counts = scoring.count(y, probabilities.argmax(axis=1), len(classes))
    found = scoring.figures(counts, classes)
    (directory / "val_report.json").write_text(json.dumps(found, indent=1))
    (directory / "val_report.txt").write_text(scoring.as_text(found))
    draw_confusion(counts[:, :-1], classes).savefig(directory / "val_confusion.png")


def draw_learning_curve(trial: TrialRecord, metric: str, mode: str) -> Figure:
    """Losses on the left, scores on val on the right, by epoch; a dashed line marks the best epoch."""
    figure, (left, right) = make_figure(8, 3, num_axes=2)
    names = [name for name in trial.epochs[0] if name not in ("epoch", "epoch_s")]
    steps = [row["epoch"] for row in trial.epochs]
    marker = "o" if len(steps) == 1 else None
    for name in names:
        axes = left if name.endswith("loss") else right
        axes.plot(
            steps,
            [row.get(name, np.nan) for row in trial.epochs],
            label=name,
            marker=marker,
            linewidth=1.4,
        )
    best = trial.best(metric, mode)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)  # type: ignore[call-arg]
        axes.grid(alpha=0.3)
        if best is not None:
            axes.axvline(best["epoch"], color="gray", linestyle="--", linewidth=0.8)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    value = "no finite value" if best is None else f"best {metric} {best[metric]:.4f} at epoch {best['epoch']:.0f}"
    figure.suptitle(f"trial {trial.name}: {value}", fontsize=9)
    figure.subplots_adjust(left=0.07, right=0.985, top=0.89, bottom=0.16, wspace=0.16)
    return figure


def draw_confusion(counts: np.ndarray, classes: list[str]) -> Figure:
    """counts (C, C), rows true classes: each cell shows its count and its share of the true class, which shades it."""
    side = 2.0 + 0.5 * len(classes)
    figure, (axes,) = make_figure(side + 0.3, side, num_axes=1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("true", fontsize=8)
    axes.set_title("faces, and share of the true class", fontsize=9)
    for (i, j), share in np.ndenumerate(shares):
        color = "white" if share > 0.5 else "black"
        axes.text(j, i, f"{counts[i, j]}\n{share:.2f}", ha="center", va="center", color=color, fontsize=8)
    figure.subplots_adjust(left=0.9 / (side + 0.3), right=0.97, top=1 - 0.3 / side, bottom=0.9 / side)
    return figure


def make_figure(width: float, height: float, num_axes: int) -> tuple[Figure, list[Axes]]:
    """A figure of width × height inches with its axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(1, num_axes, i + 1) for i in range(num_axes)]
