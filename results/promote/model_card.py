"""The model card of a registered version: what it is, what it learned from, how well it does, and where it fails.

After Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv:1810.03993). Every sentence is made of figures that were
measured when the version was registered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fersweep.common.display.tables import short
from fersweep.data_pipeline.tasks.features import described
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.scores import intervals

NO_LICENCE = "not recorded (`promote --licence`); the sources' own terms hold. FER2013 may not be passed on"


def write_card(
    sweep: SweepJson,
    trial: TrialRecord,
    task: Task,
    figures: dict[str, Any],
    *,
    num_trials: int,
    links: dict[str, str],
    licence: str | None = None,
) -> str:
    """Markdown.

    Args:
        figures: evaluate's, on test; `refit` in them tells of a refit (promote.py).
        num_trials: that the trial was chosen from.
        links: name → address of the runs in MLflow.
    """
    parts = [
        _what(sweep, trial, task, figures),
        _data(sweep, task, licence),
        _protocol(sweep, trial, figures, num_trials),
        _scores(figures),
        _limits(task, figures),
        "**Where it comes from.** " + " · ".join(f"[{name}]({link})" for name, link in links.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _what(sweep: SweepJson, trial: TrialRecord, task: Task, figures: dict[str, Any]) -> str:
    asked, refit = sweep.asked, figures.get("refit")
    what = f"Trial {trial.name} of sweep **{asked.name}**: `{asked.trainable}`"
    if refit:
        how = "the mean of" if refit["ensemble"] else "the median of"
        what += f", trained again on train and val: {how} {len(refit['seeds'])} seeds"
    groups = [name if members == [name] else f"{name} ({', '.join(members)})" for name, members in task.groups.items()]
    sees = f"{described(task.feature_names)} that MediaPipe reads from a face"
    if task.spec.features == "pixels":
        sees = f"the gray face, {'×'.join(map(str, task.manifest['image_size']))} pixels"
    hparams = ", ".join(f"{name} {short(value)}" for name, value in trial.hparams.items() if value not in (None, []))
    return f"{what}. It sees {sees} and answers {', '.join(groups)}.\n\nHyperparameters: {hparams}."


def _data(sweep: SweepJson, task: Task, licence: str | None) -> str:
    manifest = task.manifest
    sources = ", ".join(f"`{one['path'].rsplit('/', 1)[-1]}`" for one in manifest.get("sources", ())) or "not recorded"
    rows = ["| split | faces | " + " | ".join(task.classes) + " |", "|---|---|" + "---|" * len(task.classes)]
    for split in ("train", "val", "test"):
        counts = np.bincount(task.load(split).y, minlength=len(task.classes))
        rows.append(f"| {split} | {counts.sum()} | " + " | ".join(map(str, counts)) + " |")
    return (
        f"**Data.** {sweep.dataset.name}, fingerprint `{manifest['fingerprint']}`; sources: {sources}. Licence: "
        f"{licence or NO_LICENCE}. {_prepared(manifest['landmarks'])}"
        f"{'' if task.spec.keep_twins else '; train faces whose pixels also stand in val or test left out'}.\n\n"
        + "\n".join(rows)
    )


def _prepared(landmarks: dict[str, Any] | None) -> str:
    """How MediaPipe was shown the faces; None: `prepare` did not show it any."""
    if landmarks is None:
        return "Prepared without MediaPipe"
    views = landmarks.get("views", 1)
    more = f", {views} views" if views > 1 else ""
    return f"Prepared with a border of {landmarks['border']:g} at {landmarks['size']} px{more}"


def _protocol(sweep: SweepJson, trial: TrialRecord, figures: dict[str, Any], num_trials: int) -> str:
    metric, mode = (sweep.metric, sweep.mode)
    value = trial.value(metric, mode)
    text = (
        f"**Protocol.** Chosen on val, as the best of {num_trials} trials by {metric} ({value:.4f} there, which the choice "
        f"makes optimistic); then judged on test. Intervals: {figures['protocol']}."
    )
    if refit := figures.get("refit"):
        each = ", ".join(f"{one['value']:.4f}" for one in refit["seeds"])
        text += f" Refit for {refit['epochs']} epochs; {refit['metric']} on test of each seed: {each}."
        if not refit["ensemble"]:
            text += " The median was taken, not the best."
    return text


def _scores(figures: dict[str, Any]) -> str:
    sets = intervals.judged(figures)
    baseline = next(iter(sets.values()))["baseline"]
    head = [*(intervals.JUDGED[key] for key in sets), f"always {baseline['class']}"]
    rows = ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    rows.append("| faces | " + " | ".join(str(one["num_faces"]) for one in sets.values()) + " | |")
    for name in intervals.SCORES:
        cells = [f"**{intervals.interval(one[name])}**" for one in sets.values()]
        rows.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + f" | {baseline[name]:.3f} |")
    detected, main = figures["detected"], next(iter(sets.values()))
    more = f"Calibration error (ECE) {detected['calibration']['ece']:.3f}"
    more += f"; AUC, one against the rest, {detected['auc']:.3f}." if detected["auc"] is not None else "."
    classes = ["| class | precision | recall | F1 | faces |", "|---|---|---|---|---|"]
    for name, one in main["per_class"].items():
        recall = intervals.interval({"value": one["recall"], "low": one["recall_low"], "high": one["recall_high"]})
        classes.append(f"| {name} | {one['precision']:.3f} | {recall} | {one['f1']:.3f} | {one['support']} |")
    return "**On test** [95 % interval].\n\n" + "\n".join(rows) + f"\n\n{more}\n\n" + "\n".join(classes)


def _limits(task: Task, figures: dict[str, Any]) -> str:
    detected, main = figures["detected"], next(iter(intervals.judged(figures).values()))
    worst = min(main["per_class"].items(), key=lambda one: one[1]["recall"])
    counts = np.array(detected["confusion"])[:, :-1]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    true, predicted = np.unravel_index(int(shares.argmax()), shares.shape)
    limits = [
        f"Weakest class: {worst[0]}, recall {worst[1]['recall']:.3f}.",
        f"Commonest confusion: {shares[true, predicted]:.0%} of {task.classes[true]} taken for {task.classes[predicted]}.",
    ]
    if task.spec.features != "pixels":
        undetected = np.bincount(task.undetected("test"), minlength=len(task.classes))
        lost = {
            name: n / max(n + s, 1) for name, n, s in zip(task.classes, undetected, counts.sum(axis=1), strict=True)
        }
        most = max(lost, key=lambda name: lost[name])
        limits.append(
            f"No answer where MediaPipe finds no face: {undetected.sum()} of {undetected.sum() + counts.sum()} test faces, "
            f"most often {most} ({lost[most]:.1%})."
        )
    limits += [
        "It names the expression that people labelled, of which annotators themselves often disagree; it does not know "
        "what anybody feels, and must not decide about a person.",
        "Not measured: how it does for groups of people, in other light, at other angles, or over time.",
    ]
    return "**Known limits.**\n" + "\n".join(f"- {one}" for one in limits)
