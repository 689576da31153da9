"""Gates: what a candidate must show before it becomes the champion, on the test faces of its own dataset.

    gates = read_gates(["better_than_champion", "min_macro_f1=0.7"])
    known = before_test(gates, candidate, champion, lines)         # those that need no face of test
    verdicts = check(gates, known, candidate, champion, data, metric)     # one a gate
    opens(verdicts)                                                # all have passed

Candidate and champion answer the same faces, all of the split; where MediaPipe found none, a model of blendshapes is wrong.
The champion itself passes the gates that compare with it; all others are checked of it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fersweep.common.display.tables import table
from fersweep.common.errors import InputError, hint
from fersweep.data_pipeline.tasks.clusters import clusters
from fersweep.data_pipeline.tasks.learned_faces import Seen
from fersweep.data_pipeline.tasks.task import Task
from fersweep.results.evaluate.ledger import Line
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.other_process import answers_elsewhere
from fersweep.results.scores.significance import LEVEL, PairedTest, paired, spent
from fersweep.trainables.metrics import SCORES, confusion, scores

if TYPE_CHECKING:
    from rich.console import RenderableType


DEFAULT = ("better_than_champion",)
PLAIN = ("better_than_champion", "same_fingerprint", "fresh_test")
NONE = "none"  # alone: no gate
LIMITS = (*(f"min_{name}" for name in SCORES), "max_recall_drop", "max_latency_ms")
TIMED = 101  # single faces whose answers are timed


@dataclass(frozen=True)
class SeenByBoth:
    """Which faces of test the candidate and the champion learned; None: nobody knows, or there is no such model."""

    own: Seen | None = None
    other: Seen | None = None

    @property
    def notes(self) -> list[str]:
        """What is to be said of it, where faces were learned, or that is not known."""
        both = (("the candidate", self.own), ("the champion", self.other))
        return [seen.sentence(name) for name, seen in both if seen is not None and (seen.faces.any() or seen.unknown)]

    def unseen_task(self, task: Task) -> Task:
        """The candidate's task without the faces of test that it learned."""
        return task if self.own is None or not self.own.faces.any() else task.without("test", self.own.faces)

    def unseen(self, num: int, by_both: bool) -> np.ndarray:
        """(num,) bool: the faces of `Task.everyone("test")` that the candidate has not learned, and, `by_both`, the champion."""
        rest = np.ones(num, bool)
        for seen in (self.own, self.other if by_both else None):
            if seen is not None:
                rest &= ~seen.faces
        return rest


@dataclass(frozen=True)
class Verdict:
    """What a gate wants, what was found, and whether that is enough."""

    gate: str
    wanted: str
    found: str
    passed: bool

    def as_json(self) -> dict[str, str | bool]:
        return asdict(self)


def read_gates(texts: Sequence[str]) -> dict[str, float]:
    """Gates by name, with their limits: those of PLAIN, and `NAME=NUMBER` for those of LIMITS.

    `none` alone: no gates. Raises InputError naming the nearest known gate, for one that is there twice, and for a number
    that is no limit.
    """
    gates: dict[str, float] = {}
    texts = [text.strip() for joined in texts for text in joined.split(",")]
    for text in texts:
        name, equals, limit = text.partition("=")
        if name == NONE and len(texts) == 1:
            return {}
        if name == NONE:
            raise InputError(f"--gate {NONE}: it goes with no other gate")
        if name not in (*PLAIN, *LIMITS):
            raise InputError(f"--gate {text}: unknown; {hint(name, (*PLAIN, *LIMITS, NONE))}")
        if name in PLAIN and equals:
            raise InputError(f"--gate {text}: {name} takes no number")
        if name in gates:
            raise InputError(f"--gate {text}: {name} is there twice; want it once")
        gates[name] = _limit(text, name, limit) if name in LIMITS else 0.0
    return gates


def _limit(text: str, name: str, limit: str) -> float:
    try:
        number = float(limit)
    except ValueError:
        raise InputError(f"--gate {text}: wants a number, as in --gate {name}=0.6") from None
    if name == "max_latency_ms":
        if not 0 < number < float("inf"):
            raise InputError(f"--gate {text}: want milliseconds, as in --gate {name}=20")
    elif not 0 <= number <= 1:
        raise InputError(f"--gate {text}: want a share from 0 to 1, as in --gate {name}=0.6")
    return number


def needs_test(gates: Iterable[str], standing: bool) -> bool:
    """Whether a gate wants answers to the faces of test. `standing`: the candidate is the champion itself."""
    apart = ("same_fingerprint", "fresh_test", *(("better_than_champion", "max_recall_drop") if standing else ()))
    return any(gate not in apart for gate in gates)


def before_test(
    gates: dict[str, float], candidate: FaceModel, champion: FaceModel | None, standing: bool, asked: Sequence[Line]
) -> dict[str, Verdict]:
    """The verdicts that need no face of test, by gate.

    Args:
        champion: None: there is none to compare with: none at all, or the candidate is it (`standing`).
        asked: the times that the faces of test were asked until now.
    """
    verdicts: dict[str, Verdict] = {}
    for gate in gates:
        if gate == "fresh_test":
            others = [
                line for line in asked if line.model.partition(", seed ")[0] != candidate.name
            ]  # its own is no other's
            times = f"asked {len(others)} time{'s'[: len(others) != 1]} for others"
            last = f"{times}, last for {others[-1].model}" if others else "never asked for another"
            verdicts[gate] = Verdict(gate, "faces of test that were never asked", last, not others)
        elif gate.startswith("min_") or gate == "max_latency_ms":
            continue
        elif champion is None:
            nobody = "it is the champion" if standing else "there is none yet"
            verdicts[gate] = Verdict(gate, "only beside a champion", nobody, True)
        elif gate == "same_fingerprint":
            own, other = (model.described.get("fingerprint", "")[:12] for model in (candidate, champion))
            verdicts[gate] = Verdict(gate, f"the champion's {other}", own, own == other)
        elif candidate.groups != champion.groups:
            own, other = (", ".join(model.groups or {}) for model in (candidate, champion))
            wanted = f"the champion's classes: {other}"
            verdicts[gate] = Verdict(gate, wanted, f"{own}: give it an --alias of its own", False)
    return verdicts


def check(
    gates: dict[str, float],
    known: Mapping[str, Verdict],
    candidate: FaceModel,
    champion: FaceModel | None,
    data: Path,
    metric: str,
    nth: int = 1,
    seen: SeenByBoth | None = None,
) -> list[Verdict]:
    """The verdict of each gate; never none.

    Args:
        known: what `before_test` says of them.
        champion: None where there is none to compare with.
        data: the dataset on whose test faces they are judged.
        metric: which of SCORES says what is better.
        nth: as many models were judged on test since this champion came, the candidate among them.
        seen: faces that they learned, on which they are not judged.
    """
    if not gates:
        return [Verdict(NONE, "no gate", "none was asked", True)]
    test = _Test(candidate, champion, data, "max_latency_ms" in gates, seen or SeenByBoth())
    return [known.get(gate) or _verdict(gate, limit, test, metric, nth) for gate, limit in gates.items()]


def opens(verdicts: Sequence[Verdict]) -> bool:
    """Whether every gate lets the candidate pass; where nothing was checked, nothing opens."""
    return bool(verdicts) and all(verdict.passed for verdict in verdicts)


def _verdict(gate: str, limit: float, test: _Test, metric: str, nth: int) -> Verdict:
    if gate.startswith("min_"):
        value = float(test.scores[gate.removeprefix("min_")])
        return Verdict(gate, f"≥ {limit:g}", f"{value:.4f}", value >= limit)
    if gate == "max_latency_ms":
        return Verdict(gate, f"≤ {limit:g} ms", f"{test.latency_ms:.2f} ms", test.latency_ms <= limit)
    if gate == "max_recall_drop":
        if not test.unseen.any():
            return Verdict(gate, "faces that neither has learned", "none is left in test", False)
        drops = test.recall_drops()
        worst = int(np.nanargmax(drops))
        measured = f"{drops[worst]:+.4f} ({test.classes[worst]})"
        return Verdict(gate, f"≤ {limit:g} in each class", measured, bool(drops[worst] <= limit))
    if not test.unseen.any():
        return Verdict(gate, "faces that neither has learned", "none is left in test", False)
    duel = test.duel().score(metric)
    p = spent(duel.p, nth)
    measured = f"{duel.difference:+.4f} [{duel.low:+.4f}, {duel.high:+.4f}], p {duel.p:.2g}"
    measured += f" ({p:.2g} corrected for {nth} model{'s'[: nth != 1]} judged since this champion)"
    if spent(2.0 ** (1 - test.num_groups), nth) >= LEVEL:
        measured += f"; {test.num_groups} faces or persons are too few: no difference could pass"
    if (num := int((~test.unseen).sum())) > 0:
        measured += f", without {num} faces that one of them may have learned"
    if test.seen.other is not None and test.seen.other.unknown:
        measured += f"; {test.seen.other.sentence('the champion')}"
    wanted = f"{metric.replace('_', ' ')} higher, p < {LEVEL:g} as corrected"
    return Verdict(gate, wanted, measured, duel.difference > 0 and p < LEVEL)


@dataclass(frozen=True)
class _Predicted:
    """The classes y (M,) of all faces of test and those that a model predicts, -1 for no answer; its seconds a face."""

    y: np.ndarray
    predicted: np.ndarray
    latency_s: float | None


class _Test:
    """The answers of both models to all faces of test, each asked once, if at all, in a process of its own."""

    def __init__(self, candidate: FaceModel, champion: FaceModel | None, data: Path, timed: bool, seen: SeenByBoth):
        self.candidate, self.champion, self.seen = candidate, champion, seen
        self.classes = list(candidate.groups or {})
        self._data, self._timed = data, timed

    @cached_property
    def own(self) -> _Predicted:
        """Of the candidate."""
        return _predict(self.candidate, self._data, TIMED if self._timed else 0)

    @cached_property
    def other(self) -> np.ndarray:
        """(M,) classes that the champion predicts."""
        assert self.champion is not None
        return _predict(self.champion, self._data).predicted

    @cached_property
    def unseen(self) -> np.ndarray:
        """(M,) bool: the faces that neither has learned."""
        return self.seen.unseen(len(self.own.y), by_both=True)

    @cached_property
    def groups(self) -> np.ndarray:
        """(M,) int64: which faces are drawn together: those of one person, and twins."""
        return clusters(self.candidate.task(self._data, self.candidate.groups), "test").number

    @property
    def num_groups(self) -> int:
        return len(np.unique(self.groups[self.unseen]))

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """Of the candidate, on the faces that it has not learned."""
        return scores(self._counts(self.own.predicted, self.seen.unseen(len(self.own.y), by_both=False)))

    @property
    def latency_ms(self) -> float:
        return 1000 * (self.own.latency_s or 0.0)

    def duel(self) -> PairedTest:
        """On the faces that neither has learned; those of one person, and twins, together."""
        y, own, other = (faces[self.unseen] for faces in (self.own.y, self.own.predicted, self.other))
        return paired(y, own, other, len(self.classes), clusters=self.groups[self.unseen])

    def recall_drops(self) -> np.ndarray:
        """(C,) recall of the champion minus that of the candidate; NaN for a class without faces."""
        own, other = (
            scores(self._counts(predicted, self.unseen))["recall"] for predicted in (self.own.predicted, self.other)
        )
        return other - own

    def _counts(self, predicted: np.ndarray, judged: np.ndarray) -> np.ndarray:
        num = len(self.classes) + 1
        return confusion(self.own.y[judged], np.where(predicted < 0, num - 1, predicted)[judged], num)[:-1]


def _predict(model: FaceModel, data: Path, timed: int = 0) -> _Predicted:
    """`timed`: by how many single faces the latency is measured; 0: not at all."""
    assert model.checkpoint is not None
    task = model.task(data, model.groups)
    y, detected, _ = task.everyone("test")
    answered = np.ones(len(y), bool) if model.features == "pixels" else detected
    x = model.fitted(task.load("test").x)
    probabilities, latency_s = answers_elsewhere(model.checkpoint, x, timed)
    predicted = np.full(len(y), -1)
    predicted[answered] = probabilities.argmax(axis=1)
    return _Predicted(y, predicted, latency_s)


def render(verdicts: Sequence[Verdict], title: str) -> RenderableType:
    """Verdicts as a table for the terminal."""
    shown = table(["gate", "wanted", "found", ""], 4, title)
    for verdict in verdicts:
        shown.add_row(verdict.gate, verdict.wanted, verdict.found, "passed" if verdict.passed else "REFUSED")
    return shown
