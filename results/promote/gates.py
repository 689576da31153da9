"""Gates: what a candidate must show before it becomes the champion, on the test faces of its own dataset.

    gates = read_gates(["better_than_champion", "min_macro_f1=0.7"])
    verdicts = check(gates, candidate, standing, data, metric)     # one a gate; all must have passed

Candidate and champion answer the same faces, all of the split; where MediaPipe found none, a model of blendshapes is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fersweep.common.display.tables import table
from fersweep.common.errors import InputError, hint
from fersweep.results.models.face_model import FaceModel
from fersweep.results.models.other_process import answers_elsewhere
from fersweep.results.scores.significance import PairedTest, paired
from fersweep.trainables.metrics import SCORES, confusion, scores

if TYPE_CHECKING:
    from rich.console import RenderableType


DEFAULT = ("better_than_champion",)
PLAIN = ("better_than_champion", "same_fingerprint")
LIMITS = (*(f"min_{name}" for name in SCORES), "max_recall_drop", "max_latency_ms")
LEVEL = 0.05  # of p
TIMED = 101  # single faces whose answers are timed


@dataclass(frozen=True)
class Verdict:
    """Of one gate: what it wanted, what was found, and whether that is enough."""

    gate: str
    wanted: str
    found: str
    passed: bool


def read_gates(texts: Sequence[str]) -> dict[str, float]:
    """Gates by name, with their limits: `better_than_champion`, `same_fingerprint`, `NAME=NUMBER` for those of LIMITS.

    `none` alone: no gates. Raises InputError naming the nearest known gate.
    """
    gates: dict[str, float] = {}
    texts = [one.strip() for joined in texts for one in joined.split(",")]
    for text in texts:
        name, equals, limit = text.partition("=")
        if name == "none" and len(texts) == 1:
            return {}
        if name not in (*PLAIN, *LIMITS):
            raise InputError(f"--gate {text}: unknown; {hint(name, (*PLAIN, *LIMITS, 'none'))}")
        try:
            gates[name] = float(limit) if name in LIMITS else 0.0
        except ValueError:
            raise InputError(f"--gate {text}: wants a number, as in --gate {name}=0.6") from None
        if name in PLAIN and equals:
            raise InputError(f"--gate {text}: {name} takes no number")
    return gates


def check(
    gates: dict[str, float], candidate: FaceModel, standing: FaceModel | None, data: Path, metric: str
) -> list[Verdict]:
    """The verdict of each gate.

    Args:
        standing: the champion; None: there is none, and nothing that compares with it is asked.
        data: the dataset on whose test faces they are judged.
        metric: which of SCORES says what is better.
    """
    verdicts = []
    asked = _Asked(candidate, standing, data, "max_latency_ms" in gates)
    for gate, limit in gates.items():
        if gate.startswith("min_"):
            value = asked.scores[gate.removeprefix("min_")]
            verdicts.append(Verdict(gate, f"≥ {limit:g}", f"{value:.4f}", bool(value >= limit)))
        elif gate == "max_latency_ms":
            verdicts.append(Verdict(gate, f"≤ {limit:g} ms", f"{asked.latency_ms:.2f} ms", asked.latency_ms <= limit))
        elif standing is None:
            verdicts.append(Verdict(gate, "only beside a champion", "there is none yet", True))
        elif gate == "same_fingerprint":
            own, other = (one.described.get("fingerprint", "")[:12] for one in (candidate, standing))
            verdicts.append(Verdict(gate, f"the champion's {other}", own, own == other))
        elif candidate.groups != standing.groups:
            verdicts.append(_other_classes(gate, candidate, standing))
        elif gate == "max_recall_drop":
            verdicts.append(_recall_drop(asked, limit))
        else:
            test = asked.duel().score(metric)
            found = f"{test.difference:+.4f} [{test.low:+.4f}, {test.high:+.4f}], p {test.p:.3g}"
            wanted = f"{metric.replace('_', ' ')} higher, p < {LEVEL:g}"
            verdicts.append(Verdict(gate, wanted, found, test.difference > 0 and test.p < LEVEL))
    return verdicts


class _Asked:
    """The answers of both models to all faces of test, each asked once, if at all, in a process of its own."""

    def __init__(self, candidate: FaceModel, standing: FaceModel | None, data: Path, timed: bool):
        self.classes = list(candidate.groups or {})
        self._candidate, self._standing, self._data, self._timed = candidate, standing, data, timed

    @cached_property
    def own(self) -> tuple[np.ndarray, np.ndarray, float | None]:
        """y (M,), the classes (M,) that the candidate predicts, and its seconds a face."""
        return _predicted(self._candidate, self._data, TIMED if self._timed else 0)

    @cached_property
    def other(self) -> np.ndarray:
        """(M,) classes that the champion predicts."""
        assert self._standing is not None
        return _predicted(self._standing, self._data)[1]

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """Of the candidate."""
        return scores(self._counts(self.own[1]))

    @property
    def latency_ms(self) -> float:
        return 1000 * (self.own[2] or 0.0)

    def duel(self) -> PairedTest:
        return paired(*self.own[:2], self.other, len(self.classes))

    def recall_drops(self) -> np.ndarray:
        """(C,) recall of the champion minus that of the candidate."""
        return scores(self._counts(self.other))["recall"] - self.scores["recall"]

    def _counts(self, predicted: np.ndarray) -> np.ndarray:
        num = len(self.classes) + 1
        return confusion(self.own[0], np.where(predicted < 0, num - 1, predicted), num)[:-1]


def _predicted(model: FaceModel, data: Path, timed: int = 0) -> tuple[np.ndarray, np.ndarray, float | None]:
    """y (M,) and predicted classes (M,), -1 for no answer, of all faces of test; seconds a face."""
    assert model.checkpoint is not None
    task = model.task(data, model.groups)
    y, detected, _ = task.everyone("test")
    answered = np.ones(len(y), bool) if model.features == "pixels" else detected
    x = model.fitted(task.load("test").x)
    probabilities, latency_s = answers_elsewhere(model.checkpoint, x, timed)
    predicted = np.full(len(y), -1)
    predicted[answered] = probabilities.argmax(axis=1)
    return y, predicted, latency_s


def _recall_drop(asked: _Asked, limit: float) -> Verdict:
    drops = asked.recall_drops()
    worst = int(drops.argmax())
    found = f"{drops[worst]:+.4f} ({asked.classes[worst]})"
    return Verdict("max_recall_drop", f"≤ {limit:g} in each class", found, bool(drops[worst] <= limit))


def _other_classes(gate: str, candidate: FaceModel, standing: FaceModel) -> Verdict:
    own, other = (", ".join(one.groups or {}) for one in (candidate, standing))
    return Verdict(gate, f"the champion's classes: {other}", f"{own}: give it an --alias of its own", False)


def render(verdicts: Sequence[Verdict], title: str) -> RenderableType:
    """Verdicts as a table for the terminal."""
    shown = table(["gate", "wanted", "found", ""], 4, title, wraps=["wanted", "found"])
    for one in verdicts:
        shown.add_row(one.gate, one.wanted, one.found, "passed" if one.passed else "REFUSED")
    return shown


def as_dicts(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Verdicts, JSON-able."""
    return [{**asdict(one), "passed": bool(one.passed)} for one in verdicts]
