"""Several sweeps side by side, and two trials of any sweeps: `fersweep compare A B`, `fersweep compare A:3 B:7`.

What is said of scores is said of val, which chose these trials. Imports neither MLflow nor a framework.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersweep.common.errors import InputError
from fersweep.results.compare.trials import VAL_SCORES, varied_hparams
from fersweep.results.record.home import find_sweep, split_spec
from fersweep.results.record.journal import SweepRecord, TrialRecord
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.record.timeline import cost
from fersweep.results.scores import paired


@dataclass
class Chosen:
    """A sweep, and the trial of it that is meant: the one asked for, else the best (None while there is none)."""

    faces: paired.Faces
    record: SweepRecord
    trial: TrialRecord | None

    @property
    def sweep(self) -> SweepJson:
        return self.faces.sweep

    @property
    def name(self) -> str:
        """`cnn:7`."""
        number = "" if self.trial is None else f":{self.trial.number}"
        return f"{self.sweep.asked.name}{number}"


def choose(home: Path, spec: str) -> Chosen:
    """The sweep and trial that `spec` names. Raises InputError if there is no such sweep or trial."""
    name, number = split_spec(spec)
    recorded = load_sweep(find_sweep(home, name))
    record = recorded.record
    if number is None:
        trial = next(iter(recorded.ranked()), None)
    elif number not in record.trials:
        known = f"trials: 0 to {len(record.trials) - 1}" if record.trials else "it has none yet"
        raise InputError(f"sweep {recorded.sweep.name!r} has no trial {number}; {known}")
    else:
        trial = record.trials[number]
    return Chosen(paired.Faces(recorded), record, trial)


def compare_sweeps(home: Path, names: Sequence[str], top: int = 10) -> dict[str, Any]:
    """Two sweeps or more by their best trials, JSON-able.

    Returns:
        `sweeps`: what `_summary` says of each; `reasons`: why their scores cannot be compared, empty if they can;
        `pairs`: the best trials, each with each, {a, b, …same_faces.difference and correct}; `trials`: the `top` best of
        all sweeps, {sweep, trial, state, value, best_epoch, epochs, hparams, against_best}, empty where `reasons` is not;
        `differences` of the best two where there are two sweeps.
    """
    chosen = [choose(home, name) for name in names]
    why = reasons(chosen)
    best = [one for one in chosen if one.trial is not None]
    score, found = paired.score_of(chosen[0].sweep), {one.name: _answers(one) for one in best}
    pairs = []
    for a, b in itertools.combinations(best, 2):
        compared = paired.difference(found[a.name], found[b.name])
        pairs.append({"a": a.name, "b": b.name, **compared})
    paired.correct(pairs, score)
    return {
        "sweeps": [_summary(one, found.get(one.name)) for one in chosen],
        "reasons": why,
        "score": score,
        "pairs": pairs,
        "trials": [] if why else _trials(chosen, top, score),
        "differences": differences(*best) if len(chosen) == len(best) == 2 else None,
    }


def reasons(chosen: Sequence[Chosen]) -> list[str]:
    """Why the sweeps' scores cannot be compared as they stand, one line each."""
    facts: dict[str, Callable[[SweepJson], str]] = {
        "metric": lambda s: " ".join(reversed((s.metric, s.mode))),
        "dataset": lambda s: f"{s.dataset.name} ({s.dataset.fingerprint.removeprefix('sha256:')[:12]})",
        "classes": lambda s: ", ".join(s.classes),
        "faces": lambda s: s.faces,
    }
    found = []
    for what, fact in facts.items():
        values: dict[str, list[str]] = {}
        for one in chosen:
            values.setdefault(fact(one.sweep), []).append(one.sweep.asked.name)
        if len(values) > 1:
            told = "; ".join(f"{' and '.join(names)}: {value}" for value, names in values.items())
            found.append(f"other {what}: {told}")
    return found


def differences(a: Chosen, b: Chosen) -> dict[str, Any]:
    """Two trials: `a` and `b` {name, sweep, trial, state, point, best_epoch, epochs, scores}, `hparams` that differ (name
    → [of a, of b]; None where there is none), `num_same`, and `difference` of their answers (same_faces.difference).
    """
    for one in (a, b):
        if one.trial is None:
            raise InputError(f"sweep {one.name!r} has no trial with a score yet")
    score = paired.score_of(a.sweep)
    compared = paired.difference(_answers(a), _answers(b))
    paired.correct([compared], score)
    of_a, of_b = (one.trial.hparams if one.trial else {} for one in (a, b))
    both = {name: [of_a.get(name), of_b.get(name)] for name in (*of_a, *(name for name in of_b if name not in of_a))}
    other = {name: values for name, values in both.items() if json.dumps(values[0]) != json.dumps(values[1])}
    return {
        "a": _trial(a),
        "b": _trial(b),
        "score": score,
        "reasons": reasons([a, b]),
        "hparams": other,
        "num_same": len(both) - len(other),
        "difference": compared,
    }


def _trial(one: Chosen) -> dict[str, Any]:
    trial, metric, mode = one.trial, one.sweep.metric, one.sweep.mode
    assert trial is not None
    best = trial.best(metric, mode) or {}
    return {
        "name": one.name,
        "sweep": one.sweep.asked.name,
        "trainable": one.sweep.asked.trainable,
        "trial": trial.number,
        "state": trial.state,
        "point": trial.point,
        "best_epoch": int(best["epoch"]) if best else None,
        "epochs": trial.num_epochs,
        "scores": {name: best[name] for name in dict.fromkeys([metric, *VAL_SCORES, "val_loss"]) if name in best},
    }


def _answers(one: Chosen) -> paired.Answers | None:
    return None if one.trial is None else paired.answers(one.faces, one.trial)


def _summary(one: Chosen, answered: paired.Answers | None) -> dict[str, Any]:
    """A sweep: what it searched on what, its best trial with interval, its baseline, and what it cost."""
    sweep, record = one.sweep, one.record
    metric, mode = sweep.metric, sweep.mode
    best, name = None, metric.removeprefix("val_")
    if one.trial is not None:
        best = _trial(one) | {"value": one.trial.value(metric, mode), "low": None, "high": None}
        if answered is not None:
            found = paired.interval(sweep, best["value"], answered.y, answered.probabilities) or {}
            best |= {bound: found[bound] for bound in ("low", "high") if found}
    return {
        "sweep": sweep.asked.name,
        "trainable": sweep.asked.trainable,
        "metric": metric,
        "mode": mode,
        "dataset": sweep.dataset.model_dump(mode="json"),
        "classes": sweep.classes,
        "features": sweep.asked.task.features,
        "fraction": sweep.asked.task.fraction,
        "faces": sweep.faces,
        "num_faces": None if answered is None else len(answered.y),
        "session": record.action,
        "states": record.count(),
        "total_epochs": record.num_epochs,
        **cost(one.faces.recorded.directory / "journal.jsonl"),
        "best": best,
        "baseline": {"name": f"always {sweep.baseline.majority_class}", "value": sweep.baseline.score(name)},
    }


def _trials(chosen: Sequence[Chosen], top: int, score: str) -> list[dict[str, Any]]:
    metric, mode = chosen[0].sweep.metric, chosen[0].sweep.mode
    everything = [
        Chosen(one.faces, one.record, trial) for one in chosen for trial in one.record.ranked(metric, mode)[:top]
    ]
    sign = -1 if mode == "max" else 1
    everything.sort(key=lambda one: sign * (one.trial.value(metric, mode) or 0.0) if one.trial else 0.0)
    varied = {id(one.record): varied_hparams(one.record) for one in chosen}
    rows, first = [], None
    for one in everything[:top]:
        assert one.trial is not None
        answered = _answers(one)
        first = first or answered
        names = [name for name in varied[id(one.record)] if name in one.trial.hparams]
        against = paired.difference(first, answered) if rows else None
        hparams = {name: one.trial.hparams[name] for name in names}
        value = one.trial.value(metric, mode)
        rows.append({**_trial(one), "value": value, "hparams": hparams, "against_best": against})
    paired.correct([row["against_best"] for row in rows[1:]], score)
    return rows
