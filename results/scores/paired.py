"""Trials judged on the same faces of val: of one sweep, or of several that saw different ones.

A trial's predictions on val are kept beside its checkpoints, without the faces. Trials of one task on one dataset saw the
same ones in the same order. Others (all faces against those that MediaPipe found, another dataset) are joined by
`face_id`, the hash of a face's pixels, which takes the datasets themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.recorded_sweep import RecordedSweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.scores import intervals, significance
from fersweep.trainables.metrics import SCORES

LEVEL = 0.05
SAME = 1e-3  # of two values of one score: frameworks sum in other orders


@dataclass
class Faces:
    """The faces of val that a sweep's trials answer."""

    recorded: RecordedSweep

    @property
    def sweep(self) -> SweepJson:
        return self.recorded.sweep

    @cached_property
    def ids(self) -> np.ndarray:
        """(N,) face ids. Raises InputError if the dataset is gone or has changed."""
        task = self.sweep.task()
        _, detected, ids = task.everyone("val")
        return ids if task.spec.features == "pixels" else ids[detected]

    @property
    def key(self) -> tuple[Any, ...]:
        """Sweeps with the same key saw the same faces in the same order, with the same classes."""
        task = self.sweep.asked.task
        return (
            self.sweep.dataset.fingerprint,
            task.features == "pixels",  # all faces, or those that MediaPipe found
            tuple(self.sweep.classes),
            str(task.classes),
            task.fold,
            str(task.sources),
        )


@dataclass
class Answers:
    """A trial's answers on val: y (N,) and probabilities (N, C)."""

    faces: Faces
    trial: TrialRecord
    y: np.ndarray
    probabilities: np.ndarray


def answers(faces: Faces, trial: TrialRecord) -> Answers | None:
    """None while the trial has written none."""
    found = faces.recorded.val_predictions(trial)
    return None if found is None else Answers(faces, trial, *found)


def score_of(sweep: SweepJson) -> str:
    """The score that differences are told of: the sweep's metric where it is one of SCORES, else accuracy."""
    name = sweep.metric.removeprefix("val_")
    return name if name in SCORES else "accuracy"


def interval(sweep: SweepJson, value: float, y: np.ndarray, probabilities: np.ndarray) -> dict[str, float] | None:
    """`value` of the sweep's metric with {value, low, high} of a bootstrap over faces, y (N,) and probabilities (N, C).

    None where the metric is no score, or the answers give another value: `curve` makes its metrics up, and a trial in
    training may have written a better epoch's answers than the journal knows of.
    """
    name, classes = sweep.metric.removeprefix("val_"), sweep.classes
    if name not in SCORES:
        return None
    counts = intervals.count(y, probabilities.argmax(axis=1), len(classes))
    found = intervals.score_faces(counts, classes).score(name).as_json()
    return found if abs(found["value"] - value) < SAME else None


def difference(a: Answers | None, b: Answers | None) -> dict[str, Any]:
    """What a scores more than b on the faces that both answered: `significance.paired`, and `faces`, which those are.

    `{"missing": why}` where they cannot be compared.
    """
    if a is None or b is None:
        return {"missing": "a trial has no predictions on val yet"}
    classes = a.faces.sweep.classes
    if classes != b.faces.sweep.classes:
        return {"missing": "their classes differ"}
    try:
        rows_a, rows_b, told = _join(a, b)
    except InputError as error:
        return {"missing": f"their faces differ, and cannot be joined: {error}"}
    if not len(rows_a):
        return {"missing": "they have no face in common"}
    found = significance.paired(a.y[rows_a], a.probabilities[rows_a], b.probabilities[rows_b], len(classes))
    return {"faces": told, **found}


def _join(a: Answers, b: Answers) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows of a and of b that are the same faces of the same class, and what to say of them."""
    everything = np.arange(len(a.y))
    if a.faces.key == b.faces.key and np.array_equal(a.y, b.y):
        return everything, everything, f"{len(a.y)} faces of val"
    ids_a, ids_b = a.faces.ids, b.faces.ids
    for one, ids in ((a, ids_a), (b, ids_b)):
        if len(ids) != len(one.y):
            raise InputError(f"{one.faces.sweep.dataset.path} has {len(ids)} faces in val, not {len(one.y)}")
    faces_a, faces_b = (np.char.add(ids, one.y.astype(str)) for one, ids in ((a, ids_a), (b, ids_b)))
    known, first = np.unique(faces_b, return_index=True)  # twins have the same pixels, so the same answer
    place = np.minimum(np.searchsorted(known, faces_a), len(known) - 1)
    rows_a = np.flatnonzero(known[place] == faces_a)
    told = f"{len(rows_a)} faces of val that both see ({len(a.y)} and {len(b.y)})"
    others = int(np.isin(ids_a, ids_b).sum()) - len(rows_a)
    if others:
        told += f", without {others} whose class differs"
    return rows_a, first[place[rows_a]], told


def correct(found: list[dict[str, Any]], score: str) -> None:
    """Add `p` (of `score`), `p_holm` (corrected for being several comparisons) and `within_noise` to those that were made.

    val also chose these trials, which no correction undoes: where it tells two apart, test may not.
    """
    made = [one for one in found if "missing" not in one]
    for one, corrected in zip(made, significance.holm([one[score]["p"] for one in made]), strict=True):
        one |= {"score": score, "p": one[score]["p"], "p_holm": corrected, "within_noise": corrected >= LEVEL}


def corrected(number: int) -> str:
    """What to say of the p of `number` comparisons."""
    return f"p corrected by Holm for {number} comparisons" if number > 1 else "one comparison"


def told(found: dict[str, Any] | None) -> str:
    """A cell for a table: p, `noise`, or a dash."""
    if found is None or "p_holm" not in found:
        return "–"
    return "noise" if found["within_noise"] else f"{found['p_holm']:.2g}"
