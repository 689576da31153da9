"""The model card of a registered version: what it is, what it learned from, how well it does, and where it fails.

After Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv:1810.03993). Every sentence is made of figures that were
measured when the version was registered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fersweep.common.display.tables import short
from fersweep.common.own_code import copies
from fersweep.common.own_code.code import is_own
from fersweep.common.text import printable_lines
from fersweep.data_pipeline.tasks.features import described, vector_names
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate.ledger import in_words
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.ranking.lineage import Step, schedule_in_words
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.scores.figures import SETS, Figures, Joined
from fersweep.results.scores.intervals import FaceScores
from fersweep.trainables.metrics import SCORES

NO_LICENCE = "not recorded (`promote --licence`); the sources' own terms hold. FER2013 may not be passed on"


def write_card(
    sweep: SweepJson,
    trial: TrialRecord,
    task: Task,
    figures: Figures,
    *,
    num_trials: int,
    links: dict[str, str],
    licence: str | None = None,
    seen: Sequence[str] = (),
    final: str | None = None,
    steps: Sequence[Step] = (),
) -> str:
    """Markdown.

    Args:
        figures: on test.
        num_trials: from which the trial was chosen.
        links: name → address of the runs in MLflow.
        seen: which faces of test a model learned, a sentence each.
        final: how a finalist's repeat was chosen, in words; None: the trial is none.
        steps: the schedule of hparams that led to the checkpoint (PBT), if there is more than one.
    """
    parts = [
        _what(sweep, trial, task, figures) + _schedule(sweep, steps) + _teacher(sweep, figures),
        _data(sweep, task, licence),
        _protocol(sweep, trial, figures, num_trials, final),
        _scores(figures),
        _limits(task, figures, seen),
        "**Where it comes from.** " + " · ".join(f"[{name}]({link})" for name, link in links.items()),
    ]
    return printable_lines("\n\n".join(parts)) + "\n"


def plain(text: str) -> str:
    """Text in Markdown, also in a cell of a table, that stays what it is."""
    return re.sub(r"([\\`*_\[\]<>|&~$])", r"\\\1", " ".join(text.split()))


def _what(sweep: SweepJson, trial: TrialRecord, task: Task, figures: Figures) -> str:
    asked, refit, joined = sweep.asked, figures.refit, figures.joined
    what = f"Trial {trial.name} of sweep **{asked.name}**: `{asked.trainable}`"
    if joined is not None:
        what = f"An ensemble of {len(joined.members)} trials: the mean of their probabilities, each by its weight"
    if refit is not None:
        how = "the mean of" if refit.ensemble else "the median of"
        what += f", trained again on train and val: {how} {len(refit.seeds)} seeds"
    groups = [
        plain(name if members == [name] else f"{name} ({', '.join(members)})") for name, members in task.groups.items()
    ]
    vectors = vector_names(task.feature_names)
    sees = f"{described(vectors)} that MediaPipe reads from a face"
    if task.spec.features == "pixels":
        pixels = f"the gray face, {'×'.join(map(str, task.manifest['image_size'] or ()))} pixels"
        sees = f"{pixels}, and {sees}" if vectors else pixels
    if joined is not None:
        return f"{what}. It sees {sees} and answers {', '.join(groups)}.\n\n{_members(joined, bool(vectors))}"
    hparams = ", ".join(
        f"{name} {short(value)}" for name, value in sweep.named(trial).items() if value not in (None, [])
    )
    return f"{what}. It sees {sees} and answers {', '.join(groups)}.\n\nHyperparameters: {hparams}.{_code(asked.trainable)}"


def _code(trainable: str) -> str:
    """Of a trainable of somebody's own: that its code is kept with the model, and is run."""
    if not is_own(trainable):
        return ""
    code = copies.find(trainable, "trainable")
    files = f"{len(code.files)} file{'s' * (len(code.files) > 1)}, {code.num_lines:,} lines, sha256 {code.sha256}"
    return (
        f"\n\n**Code.** The net is made by `{code.asked}` ({files}), which is not part of fersweep and is kept with the model: "
        "**whoever loads the model runs that code.**"
    )


def _schedule(sweep: SweepJson, steps: Sequence[Step]) -> str:
    if len(steps) < 2:
        return ""
    return f" They are those of the best epoch. What led to it (PBT): {plain(schedule_in_words(sweep, steps))}."


def _teacher(sweep: SweepJson, figures: Figures) -> str:
    teacher, asked = sweep.teacher, sweep.asked.distil
    if teacher is None or asked is None or figures.joined is not None:
        return ""
    share = "" if asked.weight == 1 else f", with a weight of {asked.weight:g} against the labels"
    softened = "" if asked.temperature == 1 else f", at temperature {asked.temperature:g}"
    origin = f", which is trial {teacher.trial} of sweep {teacher.sweep}" if teacher.sweep and teacher.version else ""
    text = f"It learned the probabilities of {plain(teacher.name + origin)}{share}{softened} (Hinton et al. 2015, arXiv:1503.02531), "
    text += f"on {teacher.num_taught:,} of {sweep.num_train or teacher.num_taught:,} train faces"
    value = teacher.scores.get(sweep.metric, teacher.scores["val_macro_f1"])
    name = sweep.metric if sweep.metric in teacher.scores else "val_macro_f1"
    text += f"; its teacher's {plain(name)}: {value:.4f}."
    return f"\n\n**Teacher.** {text}" + (f" {plain(teacher.unknown)}." if teacher.unknown else "")


def _members(joined: Joined, has_numbers: bool) -> str:
    rows = [
        f"| member | trainable | sees | weight | {plain(joined.metric)} | faces of val |",
        "|---|---|---|---|---|---|",
    ]
    for one in joined.members:
        cells = [
            plain(one.name),
            f"`{one.trainable}`",
            one.sees,
            str(one.weight),
            f"{one.value:.4f}",
            str(one.num_faces),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    text = "**Members.** A member's value is its own, on all these faces of val; one that it does not see is wrong."
    if has_numbers and any(one.sees == "pixels" for one in joined.members):
        text += " A face in which MediaPipe finds no landmarks is answered by the members that see pixels."
    return f"{text}\n\n" + "\n".join(rows)


def _data(sweep: SweepJson, task: Task, licence: str | None) -> str:
    manifest = task.manifest
    sources = (
        ", ".join(plain(source["path"].rsplit("/", 1)[-1]) for source in manifest.get("sources", ())) or "not recorded"
    )
    rows = [
        "| split | faces | " + " | ".join(map(plain, task.classes)) + " |",
        "|---|---|" + "---|" * len(task.classes),
    ]
    for split in ("train", "val", "test"):
        counts = np.bincount(task.load(split).y, minlength=len(task.classes))
        rows.append(f"| {split} | {counts.sum()} | " + " | ".join(map(str, counts)) + " |")
    return (
        f"**Data.** {plain(sweep.dataset.name)}, fingerprint `{manifest['fingerprint']}`; sources: {sources}. Licence: "
        f"{plain(licence) if licence else NO_LICENCE}. {_prepared(manifest['landmarks'])}"
        f"{'' if task.spec.keep_twins else '; train faces whose pixels also stand in val or test left out'}.\n\n"
        + "\n".join(rows)
    )


def _prepared(landmarks: Mapping[str, Any] | None) -> str:
    """How MediaPipe was shown the faces; None: `prepare` did not show it any."""
    if landmarks is None:
        return "Prepared without MediaPipe"
    views = landmarks.get("views", 1)
    more = f", {views} views" if views > 1 else ""
    return f"Prepared with a border of {landmarks['border']:g} at {landmarks['size']} px{more}"


def _protocol(sweep: SweepJson, trial: TrialRecord, figures: Figures, num_trials: int, final: str | None = None) -> str:
    metric, refit, joined = sweep.metric, figures.refit, figures.joined
    value = trial.value(metric, sweep.mode)
    best = f"as the best of {num_trials} trials by {metric} ({value:.4f} there, which the choice makes optimistic)"
    how = final or best
    if joined is not None:
        how = f"among {joined.num_trials} trials, {joined.how} selection with replacement (Caruana et al. 2004)"
        how += f" by {plain(joined.sentence())}"
    text = f"**Protocol.** Chosen on val, {how}; then judged on test. Intervals: {figures.protocol}."
    if figures.asked is not None:
        text += f" It was the {in_words(figures.asked)}."
    if refit is not None:
        values = ", ".join(f"{seed.value:.4f}" for seed in refit.seeds)
        text += f" Refit for {refit.epochs} epochs; {refit.metric} on test of each seed: {values}."
        if refit.deviation is not None:
            text += f" Mean ± standard deviation: {refit.mean:.4f} ± {refit.deviation:.4f}."
        if not refit.ensemble:
            text += " The median was taken, not the best."
    version = sweep.versions.get("fersweep")
    if version is not None:
        text += f" Trained by fersweep {version}{f', commit `{sweep.git_commit}`' if sweep.git_commit else ''}."
    return text


def _scores(figures: Figures) -> str:
    sets, detected = figures.sets(), figures.detected
    main = next(iter(sets.values()))
    baseline, calibration = main.baseline, detected.calibration
    assert baseline is not None  # evaluate always has both
    assert calibration is not None
    head = [*(SETS[key] for key in sets), f"always {plain(baseline.majority)}"]
    rows = ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    rows.append("| faces | " + " | ".join(str(scores.num_faces) for scores in sets.values()) + " | |")
    for name in SCORES:
        cells = [f"**{scores.score(name)}**" for scores in sets.values()]
        rows.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + f" | {baseline.score(name):.3f} |")
    more = f"Calibration error (ECE) {calibration.ece:.3f}"
    more += f"; AUC, one against the rest, {detected.auc:.3f}." if detected.auc is not None else "."
    return "**On test** [95 % interval].\n\n" + "\n".join(rows) + f"\n\n{more}\n\n" + _classes(main)


def _classes(scores: FaceScores) -> str:
    lines = ["| class | precision | recall | F1 | faces |", "|---|---|---|---|---|"]
    for name, row in scores.per_class.items():
        lines.append(f"| {' | '.join([plain(name), *row.cells()])} |")
    return "\n".join(lines)


def _limits(task: Task, figures: Figures, seen: Sequence[str]) -> str:
    main = next(iter(figures.sets().values()))
    recall = {name: row.recall for name, row in main.per_class.items() if row.recall is not None}
    worst = min(recall, key=lambda name: recall[name])
    counts = np.array(figures.detected.confusion)[:, :-1]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    true, predicted = np.unravel_index(int(shares.argmax()), shares.shape)
    limits = [
        f"Weakest class: {plain(worst)}, recall {recall[worst]:.3f}.",
        f"Commonest confusion: {shares[true, predicted]:.0%} of {plain(task.classes[true])} taken for {plain(task.classes[predicted])}."
        if shares.any()
        else "No face of test was taken for another class.",
    ]
    if absent := [name for name, row in main.per_class.items() if not row.support]:
        limits.append(
            f"Not judged: {', '.join(map(plain, absent))}, of which test has no faces; they count in no score."
        )
    if task.spec.features != "pixels":
        undetected = np.bincount(task.undetected("test"), minlength=len(task.classes))
        lost = undetected / np.maximum(undetected + counts.sum(axis=1), 1)
        most = int(lost.argmax())
        limits.append(
            f"No answer where MediaPipe finds no face: {undetected.sum()} of {undetected.sum() + counts.sum()} test faces, "
            f"most often {plain(task.classes[most])} ({lost[most]:.1%})."
        )
    limits += [
        *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in seen),
        "It names the expression that people labelled, of which annotators themselves often disagree; it does not know "
        "what anybody feels, and must not decide about a person.",
        "Not measured: how it does for groups of people, in other light, at other angles, or over time.",
    ]
    return "**Known limits.**\n" + "\n".join(f"- {limit}" for limit in limits)
