"""The files that a trial leaves beside its metrics in MLflow: hparams, history, per-class report, and pictures.

Pictures are drawn with matplotlib's objects on the Agg canvas, small and without pyplot's state. They still cost about a tenth
of a second of CPU a trial, ten times as much as the rest.
"""

# Parts of matplotlib have no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fersweep.common.display.charts import figure_text, make_figure, save_figure
from fersweep.results.record.journal import TrialRecord
from fersweep.results.scores import intervals
from fersweep.results.scores.charts import draw_confusion
from fersweep.trainables.metrics import is_fold_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNING_CURVE, CONFUSION = "learning_curve.png", "val_confusion.png"


def write_history(trial: TrialRecord, directory: Path) -> None:
    """`hparams.json` (with those of PBT's later epochs) and `history.csv` (one row an epoch) of any trial into `directory`."""
    hparams = dict(trial.hparams)
    if trial.exploits:
        hparams["later"] = [{"from_epoch": s.first, "copied": s.donor, "hparams": s.hparams} for s in trial.exploits]
    (directory / "hparams.json").write_text(json.dumps(hparams, indent=1))
    if not trial.epochs:
        return
    names = list(dict.fromkeys(name for row in trial.epochs for name in row))
    with (directory / "history.csv").open("w", newline="", errors="replace") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(trial.epochs)


def write_val_report(y: np.ndarray, probabilities: np.ndarray, classes: list[str], directory: Path) -> None:
    """`val_report.json` and `val_report.txt` of y (N,) and probabilities (N, C)."""
    figures = intervals.score_faces(_count(y, probabilities), classes)
    (directory / "val_report.json").write_text(json.dumps(figures.as_json(), indent=1))
    (directory / "val_report.txt").write_text(intervals.as_text(figures), errors="replace")


def write_pictures(
    trial: TrialRecord,
    metric: str,
    mode: str,
    predictions: tuple[np.ndarray, np.ndarray] | None,
    classes: list[str],
    directory: Path,
) -> None:
    """`learning_curve.png` of a trial with epochs, and `val_confusion.png` of its y (N,) and probabilities (N, C)."""
    save_figure(draw_learning_curve(trial, metric, mode), directory / LEARNING_CURVE)
    if predictions is not None:
        save_figure(draw_confusion(_count(*predictions)[:, :-1], classes), directory / CONFUSION)


def _count(y: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return intervals.count(y, probabilities.argmax(axis=1), probabilities.shape[1])


def draw_learning_curve(trial: TrialRecord, metric: str, mode: str) -> Figure:
    """Losses on the left, scores on val on the right, by epoch; a dashed line marks the best epoch."""
    figure, (left, right) = make_figure(8, 3, num_axes=2)
    names = [name for name in trial.epochs[0] if name not in ("epoch", "epoch_s") and not is_fold_metric(name)]
    steps = [row["epoch"] for row in trial.epochs]
    marker = "o" if len(steps) == 1 else None
    for name in names:
        axes = left if name.endswith("loss") else right
        axes.plot(
            steps,
            [row.get(name, np.nan) for row in trial.epochs],
            label=figure_text(name),
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
