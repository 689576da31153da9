"""Trials compared on the same faces of val: trials of one sweep, or of several that saw different faces.

    differences([(answers_a, answers_b), (answers_a, answers_c)], "macro_f1")[0].p_holm

A trial's predictions on val are kept beside its checkpoints, without the faces. Trials of one task on one dataset saw the
same faces in the same order. Others (all faces against those that MediaPipe found, another dataset) are joined by
`face_id`, the hash of a face's pixels, which takes the datasets themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.stores.buckets import is_address
from fersweep.data_pipeline.tasks.clusters import INDEPENDENT, Clusters, clusters
from fersweep.results.record.journal import TrialRecord
from fersweep.results.record.recorded_sweep import RecordedSweep
from fersweep.results.record.sweep_json import SweepJson
from fersweep.results.scores import intervals, significance
from fersweep.results.scores.intervals import Interval
from fersweep.results.scores.significance import LEVEL, McNemar, PairedTest, ScoreDifference
from fersweep.trainables.metrics import SCORES

TOLERANCE = 1e-3  # between two values of one score: frameworks sum in different orders


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

    @cached_property
    def clusters(self) -> Clusters | None:
        """Of those of val, as many as the trials answer; None where the dataset is gone, has changed, or lies in a bucket."""
        if is_address(self.sweep.dataset.path):
            return None
        try:
            return clusters(self.sweep.task(), "val")
        except InputError:
            return None

    @property
    def words(self) -> str:
        """What is resampled."""
        return INDEPENDENT if self.clusters is None else self.clusters.words

    def numbers(self, num: int) -> np.ndarray | None:
        """(num,) cluster of each face that a trial answers; None where they are not known."""
        if self.clusters is None:
            return None
        numbers = self.clusters.number[self.clusters.loaded]
        return numbers if len(numbers) == num else None

    def folds(self, num: int) -> np.ndarray | None:
        """(num,) fold of each face that a trial of `task.fold: all` answers; None of another, or where they are not known."""
        if self.sweep.asked.task.fold != "all" or self.clusters is None:
            return None
        folds = self.sweep.task().fold_of_val()[self.clusters.loaded]
        return folds if len(folds) == num else None

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
    """A trial's answers on val: y (N,) class indices and probabilities (N, C)."""

    faces: Faces
    trial: TrialRecord
    y: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Difference:
    """What trial a scores more than trial b on the faces that both answered, and whether that is noise.

    Attributes:
        faces: which faces, in words.
        n: number of faces.
        score: which of SCORES decides.
        p: of that score.
        p_holm: corrected for the comparisons that were made together.
        within_noise: `p_holm` is LEVEL or more. val also chose these trials, which no correction undoes: where val sees
            a difference, test may see none.
        resampled: what is swapped and resampled, in words.
    """

    faces: str
    n: int
    accuracy: ScoreDifference
    balanced_accuracy: ScoreDifference
    macro_f1: ScoreDifference
    mcnemar: McNemar
    score: str
    p: float
    p_holm: float
    within_noise: bool
    resampled: str

    @property
    def decisive(self) -> ScoreDifference:
        """The difference in `score`."""
        return getattr(self, self.score)


@dataclass(frozen=True)
class NoDifference:
    """Why two trials cannot be compared."""

    missing: str


def answers(faces: Faces, trial: TrialRecord) -> Answers | None:
    """None while the trial has written none."""
    predictions = faces.recorded.val_predictions(trial)
    return None if predictions is None else Answers(faces, trial, *predictions)


def score_of(sweep: SweepJson) -> str:
    """The score that decides between trials: the sweep's metric if it is one of SCORES, else accuracy."""
    name = sweep.metric.removeprefix("val_")
    return name if name in SCORES else "accuracy"


def interval(
    sweep: SweepJson,
    value: float,
    y: np.ndarray,
    probabilities: np.ndarray,
    groups: np.ndarray | None = None,
    folds: np.ndarray | None = None,
) -> Interval | None:
    """The sweep's metric, which is `value`, with the interval of a bootstrap over faces, y (N,) and probabilities (N, C),
    or over `groups` (N,) of them. `folds` (N,): of each face, where the metric is the mean over folds.

    None if the metric is no score, or the answers give another value: `curve` makes its metrics up, and a trial in
    training may have written a better epoch's answers than the journal knows of.
    """
    name, classes = sweep.metric.removeprefix("val_"), sweep.classes
    if name not in SCORES:
        return None
    predicted = probabilities.argmax(axis=1)
    if folds is not None:
        score = intervals.score_folds(y, predicted, len(classes), folds, groups)[name]
    else:
        counts = intervals.count(y, predicted, len(classes))
        by_group = None if groups is None else intervals.count_clusters(y, predicted, len(classes), groups)
        score = intervals.score_faces(counts, classes, clusters=by_group).score(name)
    return score if abs(score.value - value) < TOLERANCE else None


def differences(pairs: Iterable[tuple[Answers | None, Answers | None]], score: str) -> list[Difference | NoDifference]:
    """The difference of each pair, p corrected for their number.

    score: which of SCORES decides.
    """
    tests = [_compare(a, b) for a, b in pairs]
    corrected = iter(significance.holm([test.score(score).p for _, _, test in tests if isinstance(test, PairedTest)]))
    results: list[Difference | NoDifference] = []
    for faces, resampled, test in tests:
        if test is None:
            results.append(NoDifference(faces))
            continue
        p, p_holm = test.score(score).p, next(corrected)
        noise = p_holm >= LEVEL
        results.append(
            Difference(faces, resampled=resampled, **vars(test), score=score, p=p, p_holm=p_holm, within_noise=noise)
        )
    return results


def _compare(a: Answers | None, b: Answers | None) -> tuple[str, str, PairedTest | None]:
    """The faces that both answered and what of them is resampled, in words, and the test on them; where there can be
    none: why.
    """
    if a is None or b is None:
        return "a trial has no predictions on val yet", "", None
    classes = a.faces.sweep.classes
    if classes != b.faces.sweep.classes:
        return "their classes differ", "", None
    try:
        rows_a, rows_b, faces = _join(a, b)
    except InputError as error:
        return f"their faces differ, and cannot be joined: {error}", "", None
    if not len(rows_a):
        return "they have no face in common", "", None
    numbers = a.faces.numbers(len(a.y))
    words = a.faces.words if numbers is not None else INDEPENDENT
    groups = None if numbers is None else numbers[rows_a]
    test = significance.paired(
        a.y[rows_a], a.probabilities[rows_a], b.probabilities[rows_b], len(classes), clusters=groups
    )
    return faces, words, test


def _join(a: Answers, b: Answers) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows of a and of b that are the same faces of the same class, and which faces these are, in words."""
    all_rows = np.arange(len(a.y))
    if a.faces.key == b.faces.key and np.array_equal(a.y, b.y):
        folds = ", of all folds as one" * (a.faces.sweep.asked.task.fold == "all")
        return all_rows, all_rows, f"{len(a.y)} faces of val{folds}"
    ids_a, ids_b = a.faces.ids, b.faces.ids
    for answers_, ids in ((a, ids_a), (b, ids_b)):
        if len(ids) != len(answers_.y):
            path = answers_.faces.sweep.dataset.path
            raise InputError(f"{path} has {len(ids)} faces in val, not {len(answers_.y)}")
    faces_a, faces_b = np.char.add(ids_a, a.y.astype(str)), np.char.add(ids_b, b.y.astype(str))
    known, first = np.unique(faces_b, return_index=True)  # twins have the same pixels, so the same answer
    place = np.minimum(np.searchsorted(known, faces_a), len(known) - 1)
    rows_a = np.flatnonzero(known[place] == faces_a)
    faces = f"{len(rows_a)} faces of val that both see ({len(a.y)} and {len(b.y)})"
    num_other_class = int(np.isin(ids_a, ids_b).sum()) - len(rows_a)
    if num_other_class:
        faces += f", without {num_other_class} whose class differs"
    return rows_a, first[place[rows_a]], faces


def correction(number: int) -> str:
    """How the p of `number` comparisons were corrected, in words."""
    return f"p corrected by Holm for {number} comparisons" if number > 1 else "one comparison"


def p_cell(difference: Difference | NoDifference | None) -> str:
    """A cell for a table: p, `noise`, or a dash."""
    if not isinstance(difference, Difference):
        return "–"
    return "noise" if difference.within_noise else f"{difference.p_holm:.2g}"
