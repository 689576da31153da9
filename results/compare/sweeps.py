"""Several sweeps side by side, and two trials of any sweeps: `fersweep compare A B`, `fersweep compare A:3 B:7`.

All scores are of val, which chose these trials. Imports neither MLflow nor a framework.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fersweep.common.errors import InputError
from fersweep.results.compare.data import (
    BaselineValue,
    BestTrial,
    ComparedSweeps,
    ComparedTrials,
    Pair,
    RankedTrial,
    SweepSummary,
    TrialScores,
)
from fersweep.results.compare.trials import VAL_SCORES, varied_hparams
from fersweep.results.record.home import find_sweep, split_spec
from fersweep.results.record.journal import Hparams, SweepRecord, TrialRecord
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.record.timeline import cost
from fersweep.results.scores import paired
from fersweep.results.scores.paired import Answers


@dataclass(frozen=True)
class Chosen:
    """A sweep and a trial of it: the one that was named, else the best (None while there is none)."""

    faces: paired.Faces
    trial: TrialRecord | None

    @property
    def sweep(self) -> SweepJson:
        return self.faces.sweep

    @property
    def record(self) -> SweepRecord:
        return self.faces.recorded.record

    @property
    def name(self) -> str:
        """`cnn:7`."""
        number = "" if self.trial is None else f":{self.trial.number}"
        return f"{self.sweep.name}{number}"

    def answers(self) -> Answers | None:
        """Of the trial on val, if it has any."""
        return None if self.trial is None else paired.answers(self.faces, self.trial)


def choose(home: Path, spec: str) -> Chosen:
    """The sweep and trial that `spec` names. Raises InputError if there is no such sweep or trial."""
    name, number = split_spec(spec)
    recorded = load_sweep(find_sweep(home, name))
    trials = recorded.record.trials
    if number is None:
        trial = recorded.record.ranking(recorded.sweep.order).best()
    elif number not in trials:
        known = f"trials: 0 to {len(trials) - 1}" if trials else "it has none yet"
        raise InputError(f"sweep {recorded.sweep.name!r} has no trial {number}; {known}")
    else:
        trial = trials[number]
    return Chosen(paired.Faces(recorded), trial)


def compare_sweeps(home: Path, names: Sequence[str], top: int = 10) -> ComparedSweeps:
    """Two sweeps or more by their best trials, and the `top` best trials of all. Raises InputError as `choose` does."""
    chosen = [choose(home, name) for name in names]
    answers = [sweep.answers() for sweep in chosen]
    why, score = reasons(chosen), paired.score_of(chosen[0].sweep)
    best = [(sweep, its_answers) for sweep, its_answers in zip(chosen, answers, strict=True) if sweep.trial is not None]
    pairs = list(itertools.combinations(best, 2))
    differences = paired.differences([(answers_a, answers_b) for (_, answers_a), (_, answers_b) in pairs], score)
    return ComparedSweeps(
        sweeps=[_summary(sweep, its_answers) for sweep, its_answers in zip(chosen, answers, strict=True)],
        reasons=why,
        score=score,
        pairs=[Pair(a.name, b.name, differs) for ((a, _), (b, _)), differs in zip(pairs, differences, strict=True)],
        trials=[] if why else _ranked_trials(chosen, top, score),
        differences=compare_trials(*chosen) if len(chosen) == len(best) == 2 else None,
    )


def reasons(chosen: Sequence[Chosen]) -> list[str]:
    """Why the sweeps' scores cannot be compared, one line each."""
    facts: dict[str, Callable[[SweepJson], str]] = {
        "metric": lambda sweep: sweep.asked.stop.metric_in_full,
        "dataset": lambda sweep: f"{sweep.dataset.name} ({sweep.dataset.fingerprint.removeprefix('sha256:')[:12]})",
        "classes": lambda sweep: ", ".join(sweep.classes),
        "faces": lambda sweep: sweep.faces,
    }
    if any(0 in choice.sweep.num_by_class.get("val", {}).values() for choice in chosen):
        facts["macro-F1"] = lambda sweep: (
            "of classes with faces"
            if sweep.num_by_class
            else "an older version's, also of classes that are only predicted"
        )
    lines: list[str] = []
    for what, fact in facts.items():
        sweeps_by_value: dict[str, list[str]] = {}
        for choice in chosen:
            sweeps_by_value.setdefault(fact(choice.sweep), []).append(choice.sweep.name)
        if len(sweeps_by_value) > 1:
            values = "; ".join(f"{' and '.join(names)}: {value}" for value, names in sweeps_by_value.items())
            lines.append(f"other {what}: {values}")
    return lines


def compare_trials(a: Chosen, b: Chosen) -> ComparedTrials:
    """Two trials. Raises InputError if there is none with a score yet."""
    for choice in (a, b):
        if choice.trial is None:
            raise InputError(f"sweep {choice.name!r} has no trial with a score yet")
    score = paired.score_of(a.sweep)
    (difference,) = paired.differences([(a.answers(), b.answers())], score)
    hparams_a, hparams_b = (choice.sweep.named(choice.trial) if choice.trial else {} for choice in (a, b))
    both = {name: (hparams_a.get(name), hparams_b.get(name)) for name in hparams_a | hparams_b}
    other = {name: values for name, values in both.items() if json.dumps(values[0]) != json.dumps(values[1])}
    return ComparedTrials(
        a=_scores(a),
        b=_scores(b),
        score=score,
        reasons=reasons([a, b]),
        hparams=other,
        num_same=len(both) - len(other),
        difference=difference,
    )


def _scores(choice: Chosen) -> TrialScores:
    trial, sweep = choice.trial, choice.sweep
    assert trial is not None
    best = choice.faces.recorded.best(trial) or {}
    return TrialScores(
        name=choice.name,
        sweep=sweep.name,
        trainable=sweep.asked.trainable,
        trial=trial.number,
        state=trial.state,
        ended=trial.ended,
        point=trial.point,
        best_epoch=int(best["epoch"]) if best else None,
        epochs=trial.num_epochs,
        scores={
            name: best[name]
            for name in dict.fromkeys([sweep.metric, *sweep.own_metrics, *VAL_SCORES, "val_loss"])
            if name in best
        },
    )


def _best(choice: Chosen, answers: Answers | None) -> BestTrial | None:
    value = None if choice.trial is None else choice.faces.recorded.value(choice.trial)
    if value is None:
        return None
    interval = answers and paired.interval(
        choice.sweep,
        value,
        answers.y,
        answers.probabilities,
        answers.faces.numbers(len(answers.y)),
        answers.faces.folds(len(answers.y)),
    )
    low, high = (interval.low, interval.high) if interval else (None, None)
    return BestTrial(**vars(_scores(choice)), value=value, low=low, high=high)


def _summary(choice: Chosen, answers: Answers | None) -> SweepSummary:
    sweep, record = choice.sweep, choice.record
    return SweepSummary(
        sweep=sweep.name,
        trainable=sweep.asked.trainable,
        metric=sweep.metric,
        mode=sweep.mode,
        dataset=sweep.dataset,
        classes=sweep.classes,
        features=sweep.asked.task.features,
        fraction=sweep.asked.task.fraction,
        faces=sweep.faces,
        num_faces=None if answers is None else len(answers.y),
        session=record.action,
        states=record.count(repeats=False),
        total_epochs=record.num_epochs,
        **vars(cost(choice.faces.recorded.directory / "journal.jsonl")),
        best=_best(choice, answers),
        baseline=BaselineValue(f"always {sweep.baseline.majority_class}", sweep.baseline.score(sweep.metric)),
    )


def _ranked_trials(chosen: Sequence[Chosen], top: int, score: str) -> list[RankedTrial]:
    """The `top` best of all; the sweeps rank by the same metric."""
    candidates: list[tuple[float, Chosen, Hparams]] = []
    for choice in chosen:
        varied = varied_hparams(choice.faces.recorded)
        for trial in choice.faces.recorded.ranked()[:top]:
            named = choice.sweep.named(trial)
            hparams = {name: named[name] for name in varied if name in named}
            value = choice.faces.recorded.value(trial) or 0.0
            candidates.append((value, Chosen(choice.faces, trial), hparams))
    candidates.sort(key=lambda candidate: candidate[0], reverse=chosen[0].sweep.mode == "max")
    best = candidates[:top]
    answers = [choice.answers() for _, choice, _ in best]
    against_best = [None, *paired.differences([(answers[0], other) for other in answers[1:]], score)]
    return [
        RankedTrial(**vars(_scores(choice)), value=value, hparams=hparams, against_best=difference)
        for (value, choice, hparams), difference in zip(best, against_best[: len(best)], strict=True)
    ]
