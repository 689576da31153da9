"""The finalists of a sweep: its best points, trained again with other seeds, and what is left of what they had promised.

A point's own run was chosen for its score on val, so that score is too good: it counts in no mean here. The mean is over
the other seeds alone, and its interval (Student's t, n − 1 degrees of freedom) is of training's chance: the faces of val,
which chose the points, are the same in all runs.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fersweep.results.record.journal import SweepRecord, trial_name
from fersweep.results.record.ranking.derived import Repeats, SearchTotals
from fersweep.results.record.ranking.order import order_of
from fersweep.results.record.trial_record import TrialRecord
from fersweep.search_spaces.sweep_file.schema import Sweep

CONFIDENCE = 0.95
OF = "95 % interval of the mean over seeds (Student's t): of training's chance, on the same faces of val"


@dataclass(frozen=True)
class Finalist:
    """A point of the search and its runs with other seeds.

    Attributes:
        point: the search's own run.
        promised: its value, by which it was chosen.
        values: of the repeats that have finished with a value: trial → value, in order of seeds.
        asked, failed: how many repeats are asked for; how many failed.
        mean, sd: of `values`, the standard deviation of a sample; None where there are too few.
        low, high: the 95 % interval of the mean; None of one value.
    """

    point: TrialRecord
    promised: float
    values: dict[int, float]
    asked: int
    failed: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    mode: str

    @property
    def kept_promise(self) -> bool | None:
        """Whether what the search's own run promised is no better than the interval; None where there is none."""
        if self.low is None or self.high is None:
            return None
        return self.promised <= self.high if self.mode == "max" else self.promised >= self.low

    @property
    def num_ended(self) -> int:
        return len(self.values) + self.failed

    @property
    def typical_first(self) -> list[int]:
        """The repeats with a value, from the one with the median on (the worse of the middle two): it is a typical run, not
        the luckiest.
        """
        sign = 1 if self.mode == "max" else -1
        in_order = sorted(self.values, key=lambda number: (sign * self.values[number], number))
        middle = (len(in_order) - 1) // 2
        return sorted(in_order, key=lambda number: abs(in_order.index(number) - middle))

    @property
    def result(self) -> str:
        """`0.7090 ± 0.0040`; of one value that alone, of none a dash."""
        if self.mean is None:
            return "–"
        return f"{self.mean:.4f}" + ("" if self.sd is None else f" ± {self.sd:.4f}")

    def as_json(self) -> dict[str, Any]:
        seeds = {str(number): value for number, value in self.values.items()}
        names = ("promised", "asked", "failed", "mean", "sd", "low", "high", "kept_promise")
        return {"trial": self.point.number, **{name: getattr(self, name) for name in names}, "repeats": seeds}


@dataclass(frozen=True)
class Final:
    """All finalists, in the order of their results once all repeats have ended, of what they promised before that.

    Attributes:
        asked, ended: repeats.
        by: `mean` or `lower`.
        winner: None while repeats are left, or where all have failed.
    """

    finalists: list[Finalist]
    asked: int
    ended: int
    by: str
    winner: Finalist | None

    @property
    def failed(self) -> int:
        return sum(finalist.failed for finalist in self.finalists)

    def as_json(self) -> dict[str, Any]:
        """`winner`: the number of the trial whose point won."""
        winner = self.winner.point.number if self.winner else None
        rows = [finalist.as_json() for finalist in self.finalists]
        return {
            "asked": self.asked,
            "ended": self.ended,
            "failed": self.failed,
            "by": self.by,
            "winner": winner,
            "points": rows,
        }

    @property
    def choice(self) -> str:
        """Of the winner, and which of its runs is taken: the median one."""
        assert self.winner is not None
        how = "mean" if self.by == "mean" else "bound of the mean's interval"
        taken = self.winner.typical_first[0]
        return (
            f"of {len(self.finalists)} finalists the point of trial {trial_name(self.winner.point.number)} has the best {how}: "
            f"{self.winner.result} over {len(self.winner.values)} other seeds (the search's own run had promised "
            f"{self.winner.promised:.4f}); its median run is trial {trial_name(taken)}, {self.winner.values[taken]:.4f}"
        )

    @property
    def progress(self) -> str:
        """`7 of 25`, and how many of those failed."""
        return f"{self.ended} of {self.asked}" + (f", {self.failed} failed" if self.failed else "")


def points(record: SweepRecord, sweep: Sweep) -> list[TrialRecord]:
    """The best points of the search that are asked for, best first; two trials with the same hparams are one point, and one that
    breaks a constraint is none.

    A trial that was stopped early may be among them: its repeats are trained in full.
    """
    if sweep.finalists is None:
        return []
    chosen, order = dict[str, TrialRecord](), order_of(sweep)
    for trial in filter(order.is_feasible, record.kept(order, None)):
        chosen.setdefault(json.dumps(trial.hparams, sort_keys=True), trial)
        if len(chosen) == sweep.finalists.best:
            break
    return list(chosen.values())


def missing(record: SweepRecord, sweep: Sweep) -> Iterator[tuple[TrialRecord, int]]:
    """(point, seed) of the repeats that were not sampled yet, in order: each point's first, then each one's second, …"""
    if sweep.finalists is None:
        return
    known, chosen = record.derived(Repeats).trials, points(record, sweep)
    for seed in range(1, sweep.finalists.seeds + 1):
        for point in chosen:
            if (point.number, seed) not in known:
                yield point, seed


def final(record: SweepRecord, sweep: Sweep) -> Final | None:
    """What there is of the finalists; None where none are asked for, or the search goes on (no repeat has begun)."""
    asked, known = sweep.finalists, record.derived(Repeats).trials
    if asked is None or not known or record.derived(SearchTotals).running:
        return None
    finalists = [_finalist(point, record, sweep) for point in points(record, sweep)]
    num_asked, ended = asked.seeds * len(finalists), sum(finalist.num_ended for finalist in finalists)
    winner = None
    if ended == num_asked:
        finalists.sort(key=lambda finalist: _worse(finalist, asked.by))
        winner = next((finalist for finalist in finalists[:1] if _score(finalist, asked.by) is not None), None)
    return Final(finalists, num_asked, ended, asked.by, winner)


def chosen_as(record: SweepRecord, sweep: Sweep, trial: TrialRecord) -> str | None:
    """How a repeat of a finalist was chosen, for its model card; None of any other trial."""
    judged = final(record, sweep) if trial.repeat_of is not None else None
    finalist = next((each for each in judged.finalists if trial.number in each.values), None) if judged else None
    if judged is None or finalist is None:
        return None
    num, metric = len(finalist.values), sweep.stop.metric
    how = f"the best of {len(judged.finalists)}" if finalist is judged.winner else f"one of {len(judged.finalists)}"
    return (
        f"where its point, that of trial {finalist.point.name} of {len(record.searched)}, is {how} finalists by {metric}: "
        f"{finalist.result} (mean ± standard deviation) over {num} seeds that the search had not seen, where the search's own "
        f"run had promised {finalist.promised:.4f}. This is the run of trial {trial.name}, {finalist.values[trial.number]:.4f}"
        f"{', the median of them' if trial.number == finalist.typical_first[0] else ''}"
    )


def best_first(record: SweepRecord, sweep: Sweep) -> list[TrialRecord]:
    """The trials of the search that have ended and not failed: the finalists by their results, then the others."""
    others, judged = record.kept(order_of(sweep), None), final(record, sweep)
    if judged is None or judged.winner is None:
        return others
    first = [finalist.point for finalist in judged.finalists if finalist.values]
    numbers = {trial.number for trial in first}
    return [*first, *(trial for trial in others if trial.number not in numbers)]


def _finalist(point: TrialRecord, record: SweepRecord, sweep: Sweep) -> Finalist:
    assert sweep.finalists is not None
    metric, mode, known = sweep.stop.metric, sweep.stop.mode, record.derived(Repeats).trials
    repeats = [known.get((point.number, seed)) for seed in range(1, sweep.finalists.seeds + 1)]
    values: dict[int, float] = {}
    failed = 0
    for trial in repeats:
        if trial is None or trial.state == "running":
            continue
        value = None if trial.state == "failed" else trial.value(metric, mode)
        if value is None:
            failed += 1
        else:
            values[trial.number] = value
    promised = point.value(metric, mode)
    return Finalist(
        point,
        math.nan if promised is None else promised,
        values,
        sweep.finalists.seeds,
        failed,
        *mean_and_interval(list(values.values())),
        mode,
    )


def mean_and_interval(
    values: Sequence[float],
) -> tuple[float | None, float | None, float | None, float | None]:
    """Mean, standard deviation (of a sample), and the bounds of the mean's 95 % interval by Student's t."""
    if not values:
        return None, None, None, None
    mean = statistics.fmean(values)
    if len(values) == 1:
        return mean, None, None, None
    from scipy.stats import t as student  # takes long to load

    sd = statistics.stdev(values)
    quantile: Any = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1)  # pyright: ignore[reportUnknownMemberType]
    half = float(quantile) * sd / math.sqrt(len(values))
    return mean, sd, mean - half, mean + half


def _score(finalist: Finalist, by: str) -> float | None:
    """What finalists are sorted by; larger is better."""
    if finalist.mode == "max":
        return finalist.mean if by == "mean" else finalist.low
    value = finalist.mean if by == "mean" else finalist.high
    return None if value is None else -value


def _worse(finalist: Finalist, by: str) -> tuple[float, int]:
    score = _score(finalist, by)
    return math.inf if score is None else -score, finalist.point.number
