"""Compare the trials of a sweep from its journal and its predictions on val: which hparams won, and by how much.

Imports neither MLflow nor a framework; works while the sweep is running.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.common.display.tables import short, table
from fersweep.results.record.journal import SweepRecord, TrialRecord, trial_name
from fersweep.results.record.recorded_sweep import RecordedSweep, load_sweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.scores import paired
from fersweep.results.scores.figures import Figures
from fersweep.trainables import metrics
from fersweep.trainables.metrics import SCORES

if TYPE_CHECKING:
    from rich.console import RenderableType


VAL_SCORES = [f"val_{name}" for name in SCORES]
TTA_SCORES = [f"val_tta_{name}" for name in SCORES]
HPARAMS = "hparams that varied"
AGAINST = "p vs best"
NOISE = (
    "p vs best: of the difference in {score} on the same faces of val (paired bootstrap; {corrected}); "
    "noise: 0.05 or more. val chose these trials: only test can say what is left of it."
)


def compare(sweep_dir: Path, top: int = 10, trees: Figures | None = None) -> dict[str, Any]:
    """The `top` best trials of a sweep, best first, JSON-able.

    Args:
        trees: what `trees.tree_baseline` returned for the sweep's task, to stand beside the trials.

    Returns:
        `trials`: {trial, state, point, value, best_epoch, epochs, scores, recall (class → float, or None while the
        trial runs), hparams (those that varied), against_best (what the best scores more on the same faces:
        same_faces.difference and correct; None for the best itself)}; `baselines`: {name, scores, recall}; `states`: trials by state;
        `metric`, `mode`, `faces` (what the scores are of), `total_epochs`, `hparams` (common to all trials), `dataset`,
        `session`.
    """
    recorded = load_sweep(sweep_dir)
    sweep, record = recorded.sweep, recorded.record
    metric, mode = sweep.metric, sweep.mode
    varied = varied_hparams(record)
    ranked = record.ranked(metric, mode)[:top]
    shared = next(iter(record.trials.values())).hparams if record.trials else {}
    rows, score = _rows(recorded, ranked, varied), paired.score_of(sweep)
    paired.correct([row["against_best"] for row in rows[1:]], score)
    return {
        "sweep": sweep.asked.name,
        "trainable": sweep.asked.trainable,
        "metric": metric,
        "mode": mode,
        "classes": sweep.classes,
        "faces": sweep.faces,
        "dataset": sweep.dataset.model_dump(mode="json"),
        "session": record.action,
        "states": record.count(),
        "total_epochs": record.num_epochs,
        "hparams": {name: value for name, value in shared.items() if name not in varied},
        "score": score,
        "trials": rows,
        "baselines": _baselines(sweep, trees),
    }


def varied_hparams(record: SweepRecord) -> list[str]:
    """Names of the hparams that are not the same in all trials, in the order in which the trials name them."""
    values: dict[str, set[str]] = {}
    for trial in record.trials.values():
        for name, value in trial.hparams.items():
            values.setdefault(name, set()).add(json.dumps(value))
    absent = {name for name in values if any(name not in trial.hparams for trial in record.trials.values())}
    return [name for name, seen in values.items() if len(seen) > 1 or name in absent]


def _rows(recorded: RecordedSweep, ranked: list[TrialRecord], varied: list[str]) -> list[dict[str, Any]]:
    faces = paired.Faces(recorded)
    answered = [paired.answers(faces, trial) for trial in ranked]
    return [
        _row(trial, recorded.sweep, varied, found, paired.difference(answered[0], found) if index else None)
        for index, (trial, found) in enumerate(zip(ranked, answered, strict=True))
    ]


def _row(
    trial: TrialRecord,
    sweep: SweepJson,
    varied: list[str],
    answered: paired.Answers | None,
    against_best: dict[str, Any] | None,
) -> dict[str, Any]:
    metric, mode = sweep.metric, sweep.mode
    best = trial.best(metric, mode)
    assert best is not None  # ranked trials have a best epoch
    recall = None
    if answered is not None:
        counts = metrics.confusion(answered.y, answered.probabilities.argmax(axis=1), len(sweep.classes))
        found = metrics.scores(counts)
        recall = dict(zip(sweep.classes, found["recall"].tolist(), strict=True))
    return {
        "trial": trial.number,
        "state": trial.state,
        "point": trial.point,
        "value": best[metric],
        "best_epoch": int(best["epoch"]),
        "epochs": trial.num_epochs,
        "scores": {name: best[name] for name in (*VAL_SCORES, *TTA_SCORES) if name in best},
        "recall": recall,
        "hparams": {name: trial.hparams[name] for name in varied if name in trial.hparams},
        "against_best": against_best,
    }


def _baselines(sweep: SweepJson, trees: Figures | None) -> list[dict[str, Any]]:
    majority = sweep.baseline.majority_class
    baselines = [
        {
            "name": f"always {majority}",
            "scores": {f"val_{name}": sweep.baseline.score(name) for name in SCORES},
            "recall": {name: float(name == majority) for name in sweep.classes},
        }
    ]
    if trees is not None:
        scores = {f"val_{name}": trees.detected.score(name).value for name in SCORES}
        recall = {name: trees.detected.per_class[name].recall for name in sweep.classes}
        baselines.insert(0, {"name": trees.name or "boosted trees", "scores": scores, "recall": recall})
    return baselines


def render(found: dict[str, Any]) -> RenderableType:
    """What `compare` returned as tables for the terminal: scores, recall by class, hparams."""
    from rich.console import Group
    from rich.text import Text

    states = ", ".join(f"{number} {state}" for state, number in found["states"].items() if number)
    head = Text(f"{found['sweep']}: {found['trainable']} on {found['dataset']['name']}. {states or 'No trials yet'}; ")
    head.append(f"{found['total_epochs']} epochs. Best by the {found['mode']} of {found['metric']}; ")
    head.append(f"scores on val, {found['faces']}.")
    scores = [found["metric"], *(name for name in VAL_SCORES if name != found["metric"])]
    first = table(
        ["trial", "state", "epoch", *(_heading(name) for name in scores), AGAINST], num_text=2, wraps=["state"]
    )
    second = table(["recall", *found["classes"]], num_text=1)
    mirrored = table(
        ["with mirror image (tta)", *(_heading(name.replace("_tta", "")) for name in TTA_SCORES)], num_text=1
    )
    third = table(["trial", HPARAMS], num_text=2, wraps=[HPARAMS])
    for row in found["trials"]:
        number, values = trial_name(row["trial"]), {found["metric"]: row["value"], **row["scores"]}
        state = row["state"] + (f" ({row['point']})" if row["point"] else "")
        hparams = "  ".join(f"{name}={short(value)}" for name, value in row["hparams"].items())
        against = paired.told(row["against_best"]) if row["against_best"] else "best"
        first.add_row(number, state, f"{row['best_epoch']}/{row['epochs']}", *_cells(values, scores), against)
        third.add_row(number, Text(hparams))
        second.add_row(number, *_cells(row["recall"] or {}, found["classes"], digits=3))
        if TTA_SCORES[0] in row["scores"]:
            mirrored.add_row(number, *_cells(row["scores"], TTA_SCORES))
    first.add_section()
    second.add_section()
    for row in found["baselines"]:
        first.add_row(row["name"], "baseline", "", *_cells(row["scores"], scores), "", style="dim")
        second.add_row(row["name"], *_cells(row["recall"], found["classes"], digits=3), style="dim")
    return Group(
        head, first, Text(noise_note(found), "dim"), *([mirrored] if mirrored.row_count else []), second, third
    )


def noise_note(found: dict[str, Any]) -> str:
    """What the p of the trials' table says; "" where there is none."""
    number = sum("p_holm" in (row["against_best"] or {}) for row in found["trials"])
    told = {"score": score_title(found["score"]), "corrected": paired.corrected(number)}
    return NOISE.format(**told) if number else ""


def score_title(score: str) -> str:
    """A score as people write it."""
    return {"macro_f1": "macro-F1"}.get(score, score.replace("_", " "))


def _heading(name: str) -> str:
    short = {"val_balanced_accuracy": "balanced", "val_macro_f1": "macro-F1"}
    return short.get(name, name.removeprefix("val_"))


def _cells(values: dict[str, float], names: list[str], digits: int = 4) -> list[str]:
    return [f"{values[name]:.{digits}f}" if name in values else "–" for name in names]
