"""Compare the trials of a sweep from its journal and its predictions on val: which hparams won, and by how much.

Imports neither MLflow nor a framework; works while the sweep is running.
"""

from __future__ import annotations

import json
from pathlib import Path

from fersweep.results.compare.data import BaselineRow, FrontFigures, SweepTrials, TrialRow
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.ranking.budget import spending
from fersweep.results.record.ranking.order import costs_of
from fersweep.results.record.recorded_sweep import RecordedSweep, load_sweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.scores import paired
from fersweep.results.scores.figures import Figures
from fersweep.results.scores.intervals import known
from fersweep.results.scores.paired import Answers, Difference, NoDifference
from fersweep.trainables import metrics
from fersweep.trainables.metrics import SCORES

VAL_SCORES = [f"val_{name}" for name in SCORES]
TTA_SCORES = [f"val_tta_{name}" for name in SCORES]


def compare(sweep_dir: Path, top: int = 10, trees: Figures | None = None) -> SweepTrials:
    """The `top` best trials of a sweep, and its baselines.

    trees: figures of boosted trees on the sweep's task: one more baseline.
    """
    return compare_recorded(load_sweep(sweep_dir), top, trees)


def compare_recorded(recorded: RecordedSweep, top: int = 10, trees: Figures | None = None) -> SweepTrials:
    """`compare` of a sweep that was loaded."""
    sweep, record = recorded.sweep, recorded.record
    varied, score = varied_hparams(recorded), paired.score_of(sweep)
    first = next((trial for trial in record.trials.values() if trial.refused is None), None)
    first_hparams = sweep.named(first) if first else {}
    ranked = recorded.ranked()[:top]
    faces = paired.Faces(recorded)
    answers = [paired.answers(faces, trial) for trial in ranked]
    absent = _without_val_faces(sweep, answers)
    notes = sweep.without_faces()
    if absent and not sweep.num_by_class:
        notes = [
            f"no val faces of {', '.join(absent)}: macro-F1 is an older version's, and counts it where it is predicted"
        ]
    if copied := sum(bool(trial.exploits) for trial in record.trials.values()):
        notes = [
            *notes,
            f"trials that went on from another one's checkpoint (PBT): {copied}; hparams are those of the best epoch, and the report "
            "shows the schedule that led to it",
        ]
    if changed := record.of_code(sweep.asked.trainable):
        notes = [*notes, changed]
    if why := record.all_failed():
        notes = [*notes, why]
    if sweep.order.limits and ranked and record.ranking(sweep.order).best() is None:
        notes = [*notes, f"no trial keeps to the constraints: {', '.join(map(str, sweep.order.limits))}"]
    return SweepTrials(
        sweep=sweep.name,
        trainable=sweep.asked.trainable,
        metric=sweep.metric,
        mode=sweep.mode,
        classes=sweep.classes,
        faces=sweep.faces,
        dataset=sweep.dataset,
        session=record.action,
        states=record.count(repeats=False),
        total_epochs=record.num_epochs,
        hparams={name: value for name, value in first_hparams.items() if name not in varied},
        score=score,
        trials=_rows(recorded, ranked, answers, varied, score),
        baselines=_baselines(sweep, absent, trees),
        notes=notes,
        objectives=dict(zip(sweep.order.names, sweep.order.modes, strict=True)),
        constraints=sweep.asked.search.constraints,
        front=_front(recorded),
        budget=[part.text for part in spending(record, sweep.asked)],
        finalists=recorded.final,
    )


def _front(recorded: RecordedSweep) -> FrontFigures | None:
    front = recorded.front()
    if front is None:
        return None
    return FrontFigures(
        trials=[trial.number for trial in front.trials],
        knee=front.knee.number,
        best={name: front.pick(name).number for name in front.order.names},
        hypervolume=round(front.share, 4),
    )


def varied_hparams(recorded: RecordedSweep) -> list[str]:
    """Names of the hparams that are not the same in all trials, in the order in which the trials name them."""
    values: dict[str, set[str]] = {}
    trials = [recorded.sweep.named(trial) for trial in recorded.record.trials.values() if trial.refused is None]
    for hparams in trials:
        for name, value in hparams.items():
            values.setdefault(name, set()).add(json.dumps(value))
    absent = {name for name in values if any(name not in hparams for hparams in trials)}
    return [name for name, seen in values.items() if len(seen) > 1 or name in absent]


def _without_val_faces(sweep: SweepJson, answers: list[Answers | None]) -> list[str]:
    """Classes without faces of val; of an older sweep as far as a trial's answers tell."""
    if sweep.num_by_class:
        return [name for name, number in sweep.num_by_class["val"].items() if not number]
    first = next((its_answers for its_answers in answers if its_answers is not None), None)
    return [] if first is None else [name for index, name in enumerate(sweep.classes) if index not in first.y]


def _rows(
    recorded: RecordedSweep, ranked: list[TrialRecord], answers: list[Answers | None], varied: list[str], score: str
) -> list[TrialRow]:
    against_best = paired.differences([(answers[0], other) for other in answers[1:]], score)
    rows = zip(ranked, answers, [None, *against_best][: len(ranked)], strict=True)
    return [_row(recorded, trial, varied, its_answers, difference) for trial, its_answers, difference in rows]


def _row(
    recorded: RecordedSweep,
    trial: TrialRecord,
    varied: list[str],
    answers: Answers | None,
    against_best: Difference | NoDifference | None,
) -> TrialRow:
    best, classes = recorded.best(trial), recorded.sweep.classes
    assert best is not None  # ranked trials have a best epoch
    recall, hparams = None, recorded.sweep.named(trial)
    if answers is not None:
        counts = metrics.confusion(answers.y, answers.probabilities.argmax(axis=1), len(classes))
        recall = dict(zip(classes, map(known, metrics.scores(counts)["recall"]), strict=True))
    return TrialRow(
        trial=trial.number,
        state=trial.state,
        ended=trial.ended,
        point=trial.point,
        value=best[recorded.sweep.metric],
        best_epoch=int(best["epoch"]),
        epochs=trial.num_epochs,
        scores={name: best[name] for name in (*VAL_SCORES, *recorded.sweep.own_metrics, *TTA_SCORES) if name in best},
        recall=recall,
        hparams={name: hparams[name] for name in varied if name in hparams},
        against_best=against_best,
        costs=costs_of(trial, best),
        front=recorded.record.ranking(recorded.sweep.order).rank(trial),
        infeasible=recorded.sweep.order.infeasible(trial),
    )


def _baselines(sweep: SweepJson, absent: list[str], trees: Figures | None) -> list[BaselineRow]:
    """absent: classes without faces of val."""
    majority = sweep.baseline.majority_class
    scores = {f"val_{name}": getattr(sweep.baseline, name) for name in SCORES} | sweep.baseline.own
    recall = {name: None if name in absent else float(name == majority) for name in sweep.classes}
    baselines = [BaselineRow(f"always {majority}", scores, recall)]
    if sweep.teacher is not None:
        baselines.insert(0, BaselineRow(f"teacher: {sweep.teacher.name}", sweep.teacher.scores, sweep.teacher.recall))
    if trees is not None:
        scores = {f"val_{name}": trees.detected.score(name).value for name in SCORES}
        recall = {name: trees.detected.per_class[name].recall for name in sweep.classes}
        baselines.insert(0, BaselineRow(trees.name or "boosted trees", scores, recall))
    return baselines
